// Runs the SoC of litex_soc.py: `soc PORT`. Its serial port is a pseudo-terminal, whose name is the first line of output; its Ethernet
// is UDP at 127.0.0.2:PORT of this computer. Ends with its parent.
#include "Vsoc.h"
#include "verilated.h"

#include <arpa/inet.h>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>
#include <vector>

namespace {

using Bytes = std::vector<uint8_t>;

void put16(Bytes& bytes, unsigned value) {
    bytes.push_back(value >> 8 & 255);
    bytes.push_back(value & 255);
}

void put(Bytes& bytes, const std::array<uint8_t, 6>& mac) { bytes.insert(bytes.end(), mac.begin(), mac.end()); }
void put(Bytes& bytes, const std::array<uint8_t, 4>& address) { bytes.insert(bytes.end(), address.begin(), address.end()); }

constexpr std::array<uint8_t, 6> kSocMac = {0x10, 0xE2, 0xD5, 0, 0, 0}, kHostMac = {2, 0, 0, 0, 0, 1};
constexpr std::array<uint8_t, 4> kSoc = {192, 168, 1, 50}, kHost = {192, 168, 1, 100};
constexpr unsigned kPort = 1234;    // of Etherbone in the SoC
constexpr unsigned kGap = 16;       // cycles between frames
constexpr size_t kShortest = 60;    // bytes of a frame without its check

// Datagrams of this computer as Ethernet frames of the SoC, and back. The other end's addresses are invented.
class Network {
public:
    bool open_at(int port) {
        socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        const int yes = 1;
        setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
        return socket_ >= 0 && !bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    }

    void look() {
        uint8_t data[2048];
        socklen_t size = sizeof client_;
        const ssize_t count = recvfrom(socket_, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&client_), &size);
        if (count > 0) send(udp(Bytes(data, data + count)));
    }

    // One cycle of what the SoC receives.
    void drive(Vsoc& soc) {
        soc.eth_sink_valid = 0;
        if (frames_.empty()) return;
        if (place_ < frames_.front().size()) {
            soc.eth_sink_valid = 1;
            soc.eth_sink_data = frames_.front()[place_];
        } else if (place_ >= frames_.front().size() + kGap) {
            frames_.pop_front();
            place_ = 0;
            return;
        }
        ++place_;
    }

    // One cycle of what it sends.
    void sample(bool valid, uint8_t data) {
        if (valid) {
            frame_.push_back(data);
        } else if (!frame_.empty()) {
            answer(frame_);
            frame_.clear();
        }
    }

private:
    void send(Bytes frame) {
        frame.resize(frame.size() < kShortest ? kShortest : frame.size());
        frames_.push_back(frame);
    }

    static Bytes head(unsigned type) {
        Bytes frame;
        put(frame, kSocMac);
        put(frame, kHostMac);
        put16(frame, type);
        return frame;
    }

    static Bytes udp(const Bytes& data) {
        Bytes ip = {0x45, 0};
        put16(ip, 28 + data.size());
        ip.insert(ip.end(), {0, 0, 0, 0, 64, 17, 0, 0});
        put(ip, kHost);
        put(ip, kSoc);
        unsigned sum = 0;
        for (size_t i = 0; i < ip.size(); i += 2) sum += ip[i] << 8 | ip[i + 1];
        sum = (sum & 0xFFFF) + (sum >> 16);
        ip[10] = ~sum >> 8 & 255;
        ip[11] = ~sum & 255;
        Bytes frame = head(0x0800);
        frame.insert(frame.end(), ip.begin(), ip.end());
        put16(frame, kPort);
        put16(frame, kPort);
        put16(frame, 8 + data.size());
        put16(frame, 0);
        frame.insert(frame.end(), data.begin(), data.end());
        return frame;
    }

    void answer(const Bytes& frame) {
        if (frame.size() < 42) return;
        const unsigned type = frame[12] << 8 | frame[13];
        if (type == 0x0806 && frame[21] == 1) {  // who has the host's address?
            Bytes reply = head(0x0806);
            reply.insert(reply.end(), {0, 1, 8, 0, 6, 4, 0, 2});
            put(reply, kHostMac);
            put(reply, kHost);
            put(reply, kSocMac);
            put(reply, kSoc);
            send(reply);
        } else if (type == 0x0800 && frame[23] == 17) {
            const size_t length = (frame[38] << 8 | frame[39]) - 8u;
            if (frame.size() >= 42 + length)
                sendto(socket_, frame.data() + 42, length, 0, reinterpret_cast<const sockaddr*>(&client_), sizeof client_);
        }
    }

    int socket_ = -1;
    sockaddr_in client_{};
    std::deque<Bytes> frames_;
    size_t place_ = 0;
    Bytes frame_;
};

}  // namespace

int main(int count, char** arguments) {
    Network network;
    if (count < 2 || !network.open_at(std::atoi(arguments[1]))) return 2;
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
            network.look();
            if (cycle % (1 << 20) == 0 && getppid() != parent) return 0;
        }
        soc.sys_rst = cycle < 8;
        soc.serial_sink_valid = cycle >= 16 && !received.empty();
        if (soc.serial_sink_valid) soc.serial_sink_data = received.front();
        network.drive(soc);
        soc.sys_clk = 0;
        soc.eval();
        const bool taken = soc.serial_sink_valid && soc.serial_sink_ready, sent = soc.serial_source_valid;
        const unsigned char byte = soc.serial_source_data;
        network.sample(soc.eth_source_valid, soc.eth_source_data);
        soc.sys_clk = 1;
        soc.eval();
        if (taken) received.pop_front();
        if (sent && write(terminal, &byte, 1) != 1) return 1;
    }
}
