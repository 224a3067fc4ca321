// The other end of a board's Ethernet: the chip at its pins (RGMII 2.0, 1 Gbit/s) and a computer at that chip's cable, whose datagrams are
// those of a UDP socket of this one. A board that breaks a rule of what it sends ends the simulation with a line that says which. The rules
// are those of IEEE 802.3 (preamble, length, check sequence, gap), RFC 826 (ARP), 791 (IPv4) and 768 (UDP).
//
// ETHERNET_MAC, ETHERNET_IP and ETHERNET_PORT are the board's, as numbers.

#pragma once

#include <arpa/inet.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <initializer_list>
#include <netinet/in.h>
#include <random>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using Octets = std::vector<uint8_t>;

inline uint64_t number(const uint8_t* octets, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value = value << 8 | octets[i];
    return value;
}

inline void put(Octets& octets, uint64_t value, size_t count) {
    while (count--) octets.push_back(value >> 8 * count & 255);
}

inline uint32_t check_sequence(const uint8_t* octets, size_t count) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; ++i) {
        crc ^= octets[i];
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

// Of RFC 1071, of words of two octets in ones' complement.
inline unsigned checksum(const uint8_t* octets, size_t count, uint64_t sum = 0) {
    for (size_t i = 0; i < count; ++i) sum += static_cast<uint64_t>(octets[i]) << (i & 1 ? 0 : 8);
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return ~sum & 0xFFFF;
}

[[noreturn]] inline void broken_frame(const char* rule, uint64_t frame) {
    std::fprintf(stderr, "Ethernet: %s (frame %llu)\n", rule, static_cast<unsigned long long>(frame));
    std::exit(3);
}

// What may happen to a datagram on its way, once in ``1 / rate`` of them: it is lost, comes twice, or a bit of its frame is wrong.
struct LineFaults {
    double rate = 0;
    std::mt19937_64 random{};

    enum Fault { kNone, kLost, kTwice, kHurt };
    Fault next(unsigned kinds) {
        return rate <= 0 || std::uniform_real_distribution<>()(random) >= rate ? kNone : Fault(1 + random() % kinds);
    }
};

struct Frame {
    Octets octets;
    bool hurt = false;
};

// A computer at the board's cable. Frames are without preamble and check sequence.
class Computer {
public:
    static constexpr uint64_t kMAC = 0x020000000001;
    static constexpr uint32_t kIP = (ETHERNET_IP & 0xFFFFFF00u) | ((ETHERNET_IP & 255) == 100 ? 101 : 100);  // the board's neighbour
    LineFaults faults;
    std::deque<Frame> to_board;

    // Where datagrams for the board go, as HOST:PORT; empty where there is no such socket. Answers come to the same port of 127.0.0.1: a
    // board answers to the port that it is asked at.
    std::string open_socket() {
        for (int attempt = 0; attempt < 16; ++attempt) {
            socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
            sockaddr_in place{};
            place.sin_family = AF_INET;
            place.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
            socklen_t size = sizeof place;
            if (socket_ < 0 || bind(socket_, reinterpret_cast<sockaddr*>(&place), size) ||
                getsockname(socket_, reinterpret_cast<sockaddr*>(&place), &size)) return "";
            port_ = ntohs(place.sin_port);
            const int probe = socket(AF_INET, SOCK_DGRAM, 0);
            place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            const bool free = !bind(probe, reinterpret_cast<sockaddr*>(&place), size);
            close(probe);
            if (free) return "127.0.0.2:" + std::to_string(port_);
            close(socket_);
        }
        return "";
    }

    int descriptor() const { return socket_; }

    // Take what has come to the socket, at most as much as a cable would hold, and ask for the board's address where it is not known.
    bool look(uint64_t now) {
        bool came = false;
        uint8_t data[2048];
        sockaddr_in from{};
        socklen_t size = sizeof from;
        for (ssize_t count; waiting_.size() < 16 && (count = recvfrom(socket_, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&from), &size)) >= 0;) {
            came = true;
            client_ = from;
            const auto fault = faults.next(3);
            const Frame frame{datagram(Octets(data, data + count)), fault == LineFaults::kHurt};
            if (fault != LineFaults::kLost) waiting_.push_back(frame);
            if (fault == LineFaults::kTwice) waiting_.push_back(frame);
        }
        if (waiting_.empty()) return came;
        if (known_) {
            to_board.insert(to_board.end(), waiting_.begin(), waiting_.end());
            waiting_.clear();
        } else if (now >= ask_) {
            to_board.push_back({arp(1, 0)});
            ask_ = now + kPatience;
        }
        return true;
    }

    void take(const Octets& frame) {
        ++frames_;
        const uint64_t to = number(&frame[0], 6), type = number(&frame[12], 2);
        if (to != kMAC && to != 0xFFFFFFFFFFFF) broken("sent to an address that nobody has");
        if (number(&frame[6], 6) != ETHERNET_MAC) broken("sent from another address than the board's");
        if (type == 0x0806) take_arp(frame);
        else if (type == 0x0800) take_ip(frame);
        else broken("neither ARP nor IPv4");
    }

    [[noreturn]] void broken(const char* rule) const { broken_frame(rule, frames_); }

private:
    static constexpr uint64_t kPatience = 100000;  // cycles of the line, 0.8 ms: nothing answers while it is reset
    static constexpr size_t kHead = 14;

    static Octets head(unsigned type, bool everyone = false) {
        Octets frame;
        put(frame, everyone ? 0xFFFFFFFFFFFF : ETHERNET_MAC, 6);
        put(frame, kMAC, 6);
        put(frame, type, 2);
        return frame;
    }

    static Octets arp(unsigned operation, uint64_t target) {
        Octets frame = head(0x0806, operation == 1);
        put(frame, 0x0001080006040000 | operation, 8);
        put(frame, kMAC, 6);
        put(frame, kIP, 4);
        put(frame, target, 6);
        put(frame, ETHERNET_IP, 4);
        return frame;
    }

    Octets datagram(const Octets& data) {
        const unsigned from = ntohs(client_.sin_port) == port_ ? ETHERNET_PORT : ntohs(client_.sin_port);
        Octets frame = head(0x0800);
        put(frame, 0x4500, 2);
        put(frame, 28 + data.size(), 2);
        put(frame, ++sent_ & 0xFFFF, 2);
        put(frame, 0x4000, 2);  // one piece
        put(frame, 64 << 8 | 17, 2);
        put(frame, 0, 2);
        put(frame, kIP, 4);
        put(frame, ETHERNET_IP, 4);
        const unsigned sum = checksum(&frame[kHead], 20);
        frame[kHead + 10] = sum >> 8;
        frame[kHead + 11] = sum & 255;
        put(frame, from, 2);
        put(frame, ETHERNET_PORT, 2);
        put(frame, 8 + data.size(), 2);
        put(frame, 0, 2);
        frame.insert(frame.end(), data.begin(), data.end());
        const unsigned udp = checksum(&frame[kHead + 20], 8 + data.size(), pseudo_header(kIP, ETHERNET_IP, 8 + data.size()));
        frame[kHead + 26] = udp ? udp >> 8 : 255;
        frame[kHead + 27] = udp ? udp & 255 : 255;
        return frame;
    }

    static uint64_t pseudo_header(uint32_t from, uint32_t to, uint64_t length) {
        return (from >> 16) + (from & 0xFFFF) + (to >> 16) + (to & 0xFFFF) + 17 + length;
    }

    void take_arp(const Octets& frame) {
        const uint8_t* arp_at = &frame[kHead];
        const unsigned operation = number(arp_at + 6, 2);
        if (number(arp_at, 6) != 0x000108000604 || operation < 1 || operation > 2) broken("not ARP for IPv4 on Ethernet");
        if (number(arp_at + 8, 6) != ETHERNET_MAC || number(arp_at + 14, 4) != ETHERNET_IP) broken("ARP with another sender than the board");
        if (number(arp_at + 24, 4) != kIP) broken("ARP for an address that nobody has");
        if (operation == 1) {
            to_board.push_back({arp(2, ETHERNET_MAC)});
        } else {
            if (number(arp_at + 18, 6) != kMAC) broken("an answer to ARP for somebody else");
            known_ = true;
        }
    }

    void take_ip(const Octets& frame) {
        const uint8_t* ip = &frame[kHead];
        const size_t length = number(ip + 2, 2);
        if (ip[0] != 0x45) broken("not IPv4 with a header of 20 octets");
        if (length < 28 || kHead + length > frame.size()) broken("the length in IPv4's header is not that of the frame");
        if (checksum(ip, 20)) broken("the checksum of IPv4's header is wrong");
        if (number(ip + 6, 2) & 0x3FFF) broken("a piece of a datagram");
        if (!ip[8]) broken("IPv4 with no time to live");
        if (ip[9] != 17) broken("IPv4 that is not UDP");
        if (number(ip + 12, 4) != ETHERNET_IP || number(ip + 16, 4) != kIP) broken("IPv4 with other addresses than the board's and ours");
        const uint8_t* udp = ip + 20;
        const size_t octets = number(udp + 4, 2);
        if (octets < 8 || octets != length - 20) broken("the length in UDP's header is not that of IPv4's");
        if (number(udp + 6, 2) && checksum(udp, octets, pseudo_header(ETHERNET_IP, kIP, octets))) broken("UDP's checksum is wrong");
        if (number(udp, 2) != ETHERNET_PORT) broken("UDP from another port than the board's");
        const unsigned port = number(udp + 2, 2);
        if (!client_.sin_port) broken("a datagram before any was sent");
        sockaddr_in to = client_;
        to.sin_port = htons(port == ETHERNET_PORT ? port_ : port);
        const auto fault = faults.next(2);  // a frame that was hurt is lost here
        for (int copies = fault == LineFaults::kLost ? 0 : fault == LineFaults::kTwice ? 2 : 1; copies--;)
            sendto(socket_, udp + 8, octets - 8, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }

    int socket_ = -1;
    unsigned port_ = 0;
    sockaddr_in client_{};
    std::deque<Frame> waiting_;
    bool known_ = false;
    uint64_t ask_ = 0, frames_ = 0, sent_ = 0;
};

// The chip at a board's pins, in half cycles of 125 MHz. It delays what must be late, so that an edge stands for what is on the pins.
class RGMII {
public:
    static constexpr double kHalf_s = 4.0002e-9;  // its oscillator is not the board's: 50 ppm slow, so that all phases come
    Computer computer;
    bool clock = false, receives = false;
    unsigned data = 0;

    uint64_t cycles() const { return cycles_; }

    // The next edge, and what the board sees with it.
    void drive() {
        clock = !clock;
        if (clock) {
            ++cycles_;
            octet_ = next();
        }
        receives = octet_ >= 0;
        data = octet_ < 0 ? kIdle : (clock ? octet_ : octet_ >> 4) & 15;
    }

    // What the board sends with its own clock; every edge counts.
    void sample(bool edge, bool sends, unsigned nibble) {
        if (edge == tx_clock_) return;
        tx_clock_ = edge;
        if (edge) {
            low_ = nibble;
            sends_ = sends;
            return;
        }
        if (sends != sends_) computer.broken("the board says that it sends an error");
        if (sends) {
            if (frame_.empty() && started_ && gap_ < 12) computer.broken("less than twelve octets between two frames");
            frame_.push_back(low_ | nibble << 4);
        } else {
            if (!frame_.empty()) end();
            ++gap_;
        }
    }

private:
    static constexpr unsigned kIdle = 0xD;  // what RGMII says between frames: a link, 125 MHz, both ways at once
    static constexpr size_t kShortest = 60, kLongest = 1514;

    // The octet that the board gets now, or -1.
    int next() {
        if (place_ < 0) {
            ++place_;
            return -1;
        }
        if (sending_.empty()) {
            if (computer.to_board.empty()) return -1;
            Octets& frame = computer.to_board.front().octets;
            if (frame.size() < kShortest) frame.resize(kShortest);
            sending_.assign(7, 0x55);
            sending_.push_back(0xD5);
            sending_.insert(sending_.end(), frame.begin(), frame.end());
            const uint32_t check = check_sequence(frame.data(), frame.size());
            for (int i = 0; i < 4; ++i) sending_.push_back(check >> 8 * i & 255);
            if (computer.to_board.front().hurt) {
                auto& random = computer.faults.random;
                sending_[8 + random() % (sending_.size() - 8)] ^= 1 << random() % 8;
            }
            computer.to_board.pop_front();
            place_ = 0;
        }
        const int octet = sending_[place_++];
        if (static_cast<size_t>(place_) == sending_.size()) {
            sending_.clear();
            place_ = -12;
        }
        return octet;
    }

    void end() {
        for (int i = 0; i < 8; ++i)
            if (frame_.size() <= 8 || frame_[i] != (i < 7 ? 0x55 : 0xD5)) computer.broken("a frame without its preamble");
        Octets frame(frame_.begin() + 8, frame_.end());
        if (frame.size() < kShortest + 4 || frame.size() > kLongest + 4) computer.broken("a frame of less than 64 or more than 1518 octets");
        // With its own sequence behind it, lowest octet first, a frame has always the same one.
        if (check_sequence(frame.data(), frame.size()) != 0x2144DF1Cu) computer.broken("the check sequence is wrong");
        frame.resize(frame.size() - 4);
        frame_.clear();
        gap_ = 0;
        started_ = true;
        computer.take(frame);
    }

    uint64_t cycles_ = 0, gap_ = 0;
    int octet_ = -1;
    long place_ = 0;
    Octets sending_, frame_;
    bool tx_clock_ = false, sends_ = false, started_ = false;
    unsigned low_ = 0;
};
