// Runs the SoC of litex_soc.py; its serial port is a pseudo-terminal, whose name is the first line of output. Ends with its parent.
#include "Vsoc.h"
#include "verilated.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

int main() {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) || unlockpt(terminal)) return 1;
    const int other = open(ptsname(terminal), O_RDWR | O_NOCTTY);  // kept open: a terminal without a reader loses what is written
    termios settings;
    if (other < 0 || tcgetattr(other, &settings)) return 1;
    cfmakeraw(&settings);
    tcsetattr(other, TCSANOW, &settings);
    std::printf("%s\n", ptsname(terminal));
    std::fflush(stdout);

    VerilatedContext context;
    Vsoc soc(&context);
    std::deque<unsigned char> received;
    soc.serial_source_ready = 1;
    const pid_t parent = getppid();
    for (unsigned long cycle = 0;; ++cycle) {
        if (cycle % 64 == 0 && received.empty()) {
            pollfd waiting = {terminal, POLLIN, 0};
            if (poll(&waiting, 1, 0) > 0) {
                unsigned char bytes[256];
                const ssize_t count = read(terminal, bytes, sizeof bytes);
                if (count <= 0) return 0;
                received.insert(received.end(), bytes, bytes + count);
            }
            if (cycle % (1 << 20) == 0 && getppid() != parent) return 0;
        }
        soc.sys_rst = cycle < 8;
        soc.serial_sink_valid = cycle >= 16 && !received.empty();
        if (soc.serial_sink_valid) soc.serial_sink_data = received.front();
        soc.sys_clk = 0;
        soc.eval();
        const bool taken = soc.serial_sink_valid && soc.serial_sink_ready, sent = soc.serial_source_valid;
        const unsigned char byte = soc.serial_source_data;
        soc.sys_clk = 1;
        soc.eval();
        if (taken) received.pop_front();
        if (sent && write(terminal, &byte, 1) != 1) return 1;
    }
}
