// A whole board: the model that Verilator makes of `systolith_board`, an adapter at its UART pins, and a pseudo-terminal in front.
//
//     board CLOCK_HZ LATENCY_US PACE CYCLES_FILE MOST_BAUD FAULT_RATE SEED
//
// The first line of output is the terminal's name; the second, where the board has Ethernet, the address at which this computer's datagrams
// reach it, of which FAULT_RATE are lost, doubled or hurt either way, by SEED. The adapter sends and samples bit by bit, at the rate that whoever opens the
// terminal sets, as a USB adapter does, but never above MOST_BAUD; each byte is held back for LATENCY_US of the board's time in either
// direction. `oscillator` is toggled at CLOCK_HZ, the accelerator's clock: a PLL's body for simulation passes it on. With PACE 1 the
// board's time does not run ahead of the clock on the wall. CYCLES_FILE, 8 bytes, shows the board's cycles to whoever maps it. Ends with
// its parent. Where SDRAM_DATA_BITS is defined, a chip of SDRAM is at the board's pins for one; where DDR3_ROW_BITS is, one of DDR3 is behind
// the module that stands for its pins. Where ETHERNET_MAC is, its pins are those of ethernet.h's chip.

#include "adapter.h"
#ifdef ETHERNET_MAC
#include "ethernet.h"
#endif
#ifdef SDRAM_DATA_BITS
#include "sdram.h"
#endif
#ifdef DDR3_ROW_BITS
#include "ddr3.h"

#include "Vsystolith_board__Dpi.h"
#endif

#include "Vsystolith_board.h"
#include "verilated.h"

#include <asm/termbits.h>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr uint64_t kLook = 64;        // cycles between looks at the terminal
constexpr size_t kAhead = 4096;       // bytes that the adapter takes ahead of the line
constexpr uint64_t kIdle = 1 << 16;   // after so many cycles without a byte one look in so many cycles waits a little

struct Terminal {
    int master = -1;

    const char* open_pair() {
        master = posix_openpt(O_RDWR | O_NOCTTY);
        if (master < 0 || grantpt(master) || unlockpt(master)) return nullptr;
        const char* name = ptsname(master);
        const int other = open(name, O_RDWR | O_NOCTTY);  // kept open: a terminal without a reader loses what is written
        termios2 settings;
        if (other < 0 || ioctl(other, TCGETS2, &settings)) return nullptr;
        settings.c_iflag = settings.c_oflag = settings.c_lflag = 0;
        settings.c_cflag = (settings.c_cflag & ~(CSIZE | PARENB)) | CS8 | CREAD;
        settings.c_cc[VMIN] = 1;
        settings.c_cc[VTIME] = 0;
        return ioctl(other, TCSETS2, &settings) ? nullptr : name;
    }

    double baud() const {
        termios2 settings;
        return ioctl(master, TCGETS2, &settings) || !settings.c_ospeed ? 9600 : settings.c_ospeed;
    }
};

// What the board has at its other pins; ``settle`` follows every change of the clock.
#ifdef SDRAM_DATA_BITS
class Surroundings {
public:
    explicit Surroundings(double clock_hz) : chip_(clock_hz) {}

    void settle(Vsystolith_board& board) {
        const bool rises = board.sdram_clk && !clock_;
        clock_ = board.sdram_clk;
        if (rises) {
            SDRAMPins pins{};
            pins.cke = true;
#ifdef SDRAM_CKE
            pins.cke = board.sdram_cke;
#endif
#ifdef SDRAM_CS
            pins.cs_n = board.sdram_cs_n;
#endif
#ifdef SDRAM_MASK
            pins.mask = board.sdram_dm;
#endif
            pins.ras_n = board.sdram_ras_n;
            pins.cas_n = board.sdram_cas_n;
            pins.we_n = board.sdram_we_n;
            pins.bank = board.sdram_ba;
            pins.address = board.sdram_a;
            pins.data = board.sdram_dq__out;
            chip_.edge(pins);
            board.sdram_dq = chip_.data();
            board.eval();
        }
        if (board.sdram_dq__en) chip_.foreign();
    }

private:
    SDRAM chip_;
    bool clock_ = false;
};
#elif defined(DDR3_ROW_BITS)
DDR3PHY* memory = nullptr;  // of the one board in this program, for the function that its Verilog calls

struct Surroundings {
    explicit Surroundings(double clock_hz) : phy(clock_hz) { memory = &phy; }
    void settle(Vsystolith_board&) {}
    DDR3PHY phy;
};
#else
struct Surroundings {
    explicit Surroundings(double) {}
    void settle(Vsystolith_board&) {}
};
#endif

#ifdef ETHERNET_MAC
// A clock of its own, whose edges come between the board's.
class Network {
public:
    bool start(double fault_rate, uint64_t seed) {
        chip_.computer.faults.rate = fault_rate;
        chip_.computer.faults.random.seed(seed);
        const std::string place = chip_.computer.open_socket();
        std::printf("%s\n", place.c_str());
        return !place.empty();
    }

    // Up to time_s, which is that of the board's next edge.
    void run(double time_s, Vsystolith_board& board) {
        for (; edges_ * RGMII::kHalf_s < time_s; ++edges_) {
            chip_.drive();
            board.eth_rx_clk = chip_.clock;
            board.eth_rx_ctl = chip_.receives;
            board.eth_rx_data = chip_.data;
            board.eval();
            chip_.sample(board.eth_tx_clk, board.eth_tx_ctl, board.eth_tx_data);
        }
    }

    bool look() { return chip_.computer.look(chip_.cycles()); }
    int descriptor() const { return chip_.computer.descriptor(); }

private:
    RGMII chip_;
    uint64_t edges_ = 0;
};
#else
struct Network {
    bool start(double, uint64_t) { return true; }
    void run(double, Vsystolith_board&) {}
    bool look() { return false; }
    int descriptor() const { return -1; }
};
#endif

double now_s() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

uint64_t* map_cycles(const char* path) {
    const int file = open(path, O_RDWR | O_CREAT, 0666);
    if (file < 0 || ftruncate(file, sizeof(uint64_t))) return nullptr;
    void* place = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return place == MAP_FAILED ? nullptr : static_cast<uint64_t*>(place);
}

}  // namespace

#ifdef DDR3_ROW_BITS
void systolith_ddr3(int pins0, int address0, int pins1, int address1, int enables, const svBitVecVal* write_data, int mask, int registers,
                    svBitVecVal* read_data, int* seen) {
    const auto pins = [](int bits, int address) {
        const auto bit = [bits](int place) { return bool(bits >> place & 1); };
        return DDR3Pins{bit(5), bit(4), bit(3), bit(2), bit(1), bit(0), unsigned(bits >> 6 & 7), unsigned(address)};
    };
    const auto bit = [registers](int place) { return bool(registers >> place & 1); };
    DFICycle now{{pins(pins0, address0), pins(pins1, address1)}, bool(enables & 1), bool(enables & 2), {}, unsigned(mask),
                 unsigned(registers >> 5 & 3), bit(0), bit(1), bit(2), bit(3), bit(4)};
    std::memcpy(now.data.data(), write_data, now.data.size());
    memory->edge(now);
    std::memcpy(read_data, memory->data().data(), memory->data().size());
    *seen = memory->seen();
}
#endif

int main(int count, char** arguments) {
    if (count < 8) return 2;
    const double clock_hz = std::atof(arguments[1]);
    const uint64_t latency = static_cast<uint64_t>(std::atof(arguments[2]) * 1e-6 * clock_hz);
    const bool pace = std::atoi(arguments[3]);
    uint64_t* const shown = map_cycles(arguments[4]);
    const double most_baud = std::atof(arguments[5]);
    Terminal terminal;
    const char* name = terminal.open_pair();
    if (!name || !shown) return 1;
    std::printf("%s\n", name);
    Network network;
    if (!network.start(std::atof(arguments[6]), std::strtoull(arguments[7], nullptr, 10))) return 1;
    std::fflush(stdout);

    VerilatedContext context;
    Vsystolith_board board(&context);
    Surroundings surroundings(clock_hz);
    Sender sender;
    Receiver receiver;
    std::deque<Byte> received;
    double bit_cycles = clock_hz / std::fmin(terminal.baud(), most_baud);
    uint64_t last_byte = 0;
    const pid_t parent = getppid();
    const double start_s = now_s();
    board.rx = 1;
    for (uint64_t cycle = 0;; ++cycle) {
        if (cycle % kLook == 0) {
            const bool idle = cycle - last_byte > kIdle && !sender.busy() && received.empty();
            pollfd waiting[] = {{terminal.master, POLLIN, 0}, {network.descriptor(), POLLIN, 0}};
            const bool room = sender.waiting() < kAhead;
            const bool looks = room && poll(waiting, 2, idle && cycle % kIdle == 0 ? 5 : 0) > 0;
            if (network.look()) last_byte = cycle;
            if (looks && waiting[0].revents) {
                unsigned char bytes[kAhead];
                const ssize_t got = read(terminal.master, bytes, sizeof bytes);
                if (got <= 0) return 0;
                bit_cycles = clock_hz / std::fmin(terminal.baud(), most_baud);
                for (ssize_t i = 0; i < got; ++i) sender.send({cycle + latency, bytes[i]}, bit_cycles);
                last_byte = cycle;
            }
            unsigned char bytes[4096];
            size_t ready = 0;
            for (; ready < sizeof bytes && !received.empty() && received.front().due <= cycle; received.pop_front())
                bytes[ready++] = received.front().value;
            if (ready && write(terminal.master, bytes, ready) != static_cast<ssize_t>(ready)) return 1;
            *shown = cycle;
            if (cycle % kIdle == 0) {
                if (getppid() != parent) return 0;
            }
            if (pace && cycle % 4096 == 0) {
                const double ahead_s = cycle / clock_hz - (now_s() - start_s);
                if (ahead_s > 1e-4) usleep(static_cast<useconds_t>(1e6 * ahead_s));
            }
        }
        board.rx = sender.step(cycle);
        for (const int level : {0, 1}) {
            network.run((cycle + 0.5 * level) / clock_hz, board);
            board.oscillator = level;
            board.eval();
            surroundings.settle(board);
        }
        unsigned char byte;
        if (receiver.step(cycle, bit_cycles, board.tx, byte)) {
            received.push_back({cycle + latency, byte});
            last_byte = cycle;
        }
    }
}
