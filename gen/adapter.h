// An adapter at a simulated UART's pins: bytes to bits and back, by the cycles of the board's clock.

#pragma once

#include <cstdint>
#include <deque>

struct Byte {
    uint64_t due;
    unsigned char value;
};

// Bits of bytes to the board, each byte at the rate that the line had when it was handed over.
class Sender {
public:
    bool busy() const { return bits_ || !queue_.empty(); }
    size_t waiting() const { return queue_.size(); }

    void send(Byte byte, double bit_cycles) { queue_.push_back({byte, bit_cycles}); }

    bool step(uint64_t cycle) {
        if (bits_ && cycle >= next_) {
            level_ = --bits_ ? shift_ & 1 : true;
            shift_ >>= 1;
            if (bits_) next_ += bit_cycles_;
        }
        if (!bits_ && !queue_.empty() && queue_.front().byte.due <= cycle) {
            shift_ = queue_.front().byte.value | 0x100u;
            bit_cycles_ = queue_.front().bit_cycles;
            queue_.pop_front();
            bits_ = 10;
            level_ = false;
            // Bytes that wait follow without a gap, to the fraction of a cycle.
            next_ = (next_ > cycle - 1.0 ? next_ : cycle) + bit_cycles_;
        }
        return level_;
    }

private:
    struct Waiting {
        Byte byte;
        double bit_cycles;
    };

    std::deque<Waiting> queue_;
    unsigned bits_ = 0, shift_ = 0;
    bool level_ = true;
    double next_ = 0, bit_cycles_ = 0;
};

// Bytes from the board: the middle of each bit counts.
class Receiver {
public:
    bool busy() const { return busy_; }

    bool step(uint64_t cycle, double bit_cycles, bool level, unsigned char& byte) {
        const bool fell = previous_ && !level;
        previous_ = level;
        if (!busy_) {
            if (fell) {
                busy_ = true;
                bit_ = 0;
                value_ = 0;
                next_ = cycle + 0.5 * bit_cycles;
            }
            return false;
        }
        if (cycle < next_) return false;
        next_ += bit_cycles;
        if (bit_ <= 8) {
            if (bit_) value_ |= static_cast<unsigned>(level) << (bit_ - 1);
            else busy_ = !level;  // a glitch, not a start bit, ends it
            ++bit_;
            return false;
        }
        busy_ = false;
        byte = static_cast<unsigned char>(value_);
        return true;
    }

private:
    bool previous_ = true, busy_ = false;
    unsigned bit_ = 0, value_ = 0;
    double next_ = 0;
};
