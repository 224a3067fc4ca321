// A DDR3 chip and the registers of a part's pins before it, as LiteDRAM's DFI sees the two: for simulation, in which those pins cannot be.
//
// The chip is one of 16 bits as JEDEC 79-3 describes it: nothing works before the sequence that follows power-up, and a controller that
// breaks a rule ends the simulation with a line that says which. One burst of eight words for a command. The pins stand for those of an
// ECP5 under LiteDRAM's ECP5DDRPHY: write data are taken and read data come after its latencies, and what is read is noise, lane by lane,
// unless the lane's delay is in a window, its bitslip the right one, and it is not held. Where each window is, is invented.
//
// DDR3_ROW_BITS says how large the chip is, DDR3_RESET that its reset is at the part's pins, DDR3_WRITE_CYCLES, DDR3_STROBE_CYCLES and
// DDR3_READ_CYCLES what the PHY's latencies are, from a command to its data, to its strobe's window, and to when the controller has them.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

#ifndef DDR3_WINDOWS  // of each lane: its bitslip, and its first and last delay
#define DDR3_WINDOWS {1, 2, 5}, {2, 3, 6}
#endif

constexpr unsigned kLanes = 2, kBeats = 8, kBurstBytes = kLanes * kBeats;
using Burst = std::array<uint8_t, kBurstBytes>;  // byte LANE + 2 × BEAT

inline uint64_t ddr3_noise(uint64_t seed) {
    seed = (seed + 1) * 0x9E3779B97F4A7C15u;
    return seed ^ seed >> 29;
}

struct DDR3Pins {
    bool reset_n, cke, cs_n, ras_n, cas_n, we_n;
    unsigned bank, address;
};

class DDR3Chip {
public:
    explicit DDR3Chip(double clock_hz) : clock_hz_(clock_hz) {}

    // What the last command was, for whoever has its data.
    struct Access {
        bool write, read, ignored;
        uint64_t place, due;  // index of the burst, tick of its first word
    };

    // A rising edge of the chip's clock.
    Access edge(const DDR3Pins& pins) {
        ++tick_;
        power(pins);
        Access access{};
        if (!pins.reset_n || !pins.cke || pins.cs_n || !awake_) return access;
        Bank& bank = banks_[pins.bank & 7];
        const bool all = pins.address >> 10 & 1;
        switch (pins.ras_n << 2 | pins.cas_n << 1 | pins.we_n) {
        case 0: mode(pins.bank & 3, pins.address); break;
        case 1: refresh(); break;
        case 2:
            if (ready())
                for (auto& one : banks_) if (all || &one == &bank) precharge(one);
            break;
        case 3: activate(bank, pins.address); break;
        case 4: access = column(bank, pins.address, all, true); break;
        case 5: access = column(bank, pins.address, all, false); break;
        case 6: calibrate(all); break;
        }
        return access;
    }

    uint64_t tick() const { return tick_; }
    [[noreturn]] void broken(const char* rule) const {
        std::fprintf(stderr, "DDR3: %s (cycle %llu of the chip)\n", rule, static_cast<unsigned long long>(tick_));
        std::exit(3);
    }

    void write(uint64_t place, const Burst& data, unsigned mask) {
        uint8_t* octets = burst(place);
        for (unsigned i = 0; i < kBurstBytes; ++i) if (!(mask >> i & 1)) octets[i] = data[i];
    }
    Burst read(uint64_t place) {
        Burst data;
        std::memcpy(data.data(), burst(place), kBurstBytes);
        return data;
    }

private:
    static constexpr unsigned kRowBits = DDR3_ROW_BITS, kColumnBits = 10, kPageBytes = 4096;
    // Of parts for 1600 MT/s, in ns, and in cycles where that is longer.
    static constexpr double kRowNs = 13.75, kPrechargeNs = 13.75, kActiveNs = 35, kWriteNs = 15, kRefreshesNs = 7812.5,
                            kRefreshNs = kRowBits <= 13 ? 110 : kRowBits == 14 ? 160 : kRowBits == 15 ? 260 : 350;

    struct Bank {
        bool open = false;
        unsigned row = 0;
        uint64_t activated = 0, free = 0, closable = 0;  // ticks: of the last command, when it may be activated, and precharged
    };

    uint64_t cycles(double ns, unsigned least = 0) const {
        return std::max<uint64_t>(least, static_cast<uint64_t>(std::ceil(ns * 1e-9 * clock_hz_ - 1e-6)));
    }
    bool ready() const { return modes_ == 15 && calibrated_; }

    // 200 µs of reset where it is at the part's pins, 500 µs without the clock enable, and then a refresh's time.
    void power(const DDR3Pins& pins) {
#ifdef DDR3_RESET
        if (!pins.reset_n) {
            if (!resetting_) forget();
            resetting_ = true;
            ++reset_;
            return;
        }
        resetting_ = false;
        if (reset_ < cycles(200e3)) return;
#endif
        if (!awake_) {
            if (!pins.cke) ++quiet_;
            else if (quiet_ < cycles(500e3)) quiet_ = 0;
            else awake_ = true, woken_ = tick_;
        }
    }
    void forget() {
        reset_ = quiet_ = woken_ = moded_ = started_ = calibrated_ = refreshed_ = accessed_ = readable_ = read_ = activated_ = 0;
        awake_ = false;
        modes_ = 0;
        for (auto& bank : banks_) bank = Bank{};
    }

    void mode(unsigned which, unsigned value) {
        for (auto& bank : banks_) if (bank.open) broken("a mode is set while a row is open");
        if (tick_ < woken_ + cycles(kRefreshNs + 10, 5)) broken("a mode is set too soon after the clock is enabled");
        if (moded_ && tick_ < moded_ + 4) broken("two modes are set within four cycles");
        moded_ = tick_;
        const unsigned latency = (value >> 4 & 7) | (value << 1 & 8);
        switch (which) {
        case 0:
            if ((value & 3) || latency < 1 || latency > 10) return;  // bursts of eight only
            latency_ = latency + 4;
            started_ = tick_;  // its delay-locked loop is reset, or the time begins in which it may not be used
            if (!(value >> 8 & 1)) return;
            break;
        case 1: if (value & 0x1081) return; break;  // its loop is on, and it drives its pins and levels nothing
        case 2: write_latency_ = (value >> 3 & 7) + 5; break;
        case 3: if (value & 4) return; break;
        }
        modes_ |= 1 << which;
    }

    void calibrate(bool longest) {
        if (modes_ != 15 || !longest) return;
        calibrated_ = refreshed_ = tick_;
    }

    void refresh() {
        if (!ready()) return;
        for (auto& bank : banks_) {
            if (bank.open) broken("a refresh while a row is open");
            if (tick_ < bank.free) broken("a refresh too soon after precharge");
            bank.free = tick_ + cycles(kRefreshNs);
        }
        refreshed_ = tick_;
    }

    void close(Bank& bank, uint64_t when) {
        bank.open = false;
        bank.free = std::max(when, bank.activated + cycles(kActiveNs)) + cycles(kPrechargeNs);
    }

    void precharge(Bank& bank) {
        if (!bank.open) return;
        if (tick_ < bank.activated + cycles(kActiveNs)) broken("precharge too soon after activate");
        if (tick_ < bank.closable) broken("precharge too soon after an access");
        close(bank, tick_);
    }

    void activate(Bank& bank, unsigned row) {
        if (!ready()) return;
        if (bank.open) broken("activate while a row of the bank is open");
        if (tick_ < bank.free) broken("activate too soon");
        if (tick_ < calibrated_ + 512) broken("activate while the chip calibrates itself");
        // Four of these are longer than the time for four rows, as long as the clock is that of a PHY of two phases.
        if (activated_ && tick_ < activated_ + cycles(7.5, 4)) broken("two rows are opened too soon after each other");
        if (tick_ > refreshed_ + 9 * cycles(kRefreshesNs)) broken("refreshes are missing");  // eight may be owed
        bank.open = true;
        bank.row = row & ((1u << kRowBits) - 1);
        bank.activated = bank.closable = activated_ = tick_;
    }

    Access column(Bank& bank, unsigned address, bool precharges, bool write) {
        if (!ready()) return {write, !write, true, 0, 0};
        if (!bank.open) broken("an access without an open row");
        if (tick_ < bank.activated + cycles(kRowNs)) broken("an access too soon after activate");
        if (tick_ < started_ + 512) broken("an access before the chip's loop has locked");
        if (address & 7) broken("a burst does not begin at a multiple of eight");
        if (accessed_ && tick_ < accessed_ + 4) broken("an access within the burst of the one before");
        if (!write && tick_ < readable_) broken("a read too soon after a write");
        // The pins turn round: a write's data come two cycles after those of the read before.
        if (write && read_ && tick_ + write_latency_ < read_ + latency_ + 4 + 2) broken("a write too soon after a read");
        accessed_ = tick_;
        const uint64_t end = tick_ + write_latency_ + 4;
        if (write) readable_ = end + cycles(7.5, 4);
        else read_ = tick_;
        bank.closable = std::max(bank.closable, write ? end + cycles(kWriteNs) : tick_ + cycles(7.5, 4));
        const uint64_t index = static_cast<uint64_t>(&bank - banks_) << kRowBits | bank.row;
        const uint64_t place = index << (kColumnBits - 3) | (address & ((1u << kColumnBits) - 1)) >> 3;
        if (precharges) close(bank, bank.closable);
        return {write, !write, false, place, tick_ + (write ? write_latency_ : latency_)};
    }

    uint8_t* burst(uint64_t place) {
        const uint64_t byte = place * kBurstBytes;
        auto& page = pages_[byte / kPageBytes];
        if (page.empty())
            for (unsigned i = 0; i < kPageBytes; ++i) page.push_back(ddr3_noise(byte / kPageBytes * kPageBytes + i));
        return &page[byte % kPageBytes];
    }

    double clock_hz_;
    uint64_t tick_ = 0, reset_ = 0, quiet_ = 0, woken_ = 0, moded_ = 0, started_ = 0, calibrated_ = 0, refreshed_ = 0, accessed_ = 0,
             readable_ = 0, read_ = 0, activated_ = 0;
    bool awake_ = false, resetting_ = false;
    unsigned modes_ = 0, latency_ = 0, write_latency_ = 0;
    Bank banks_[8] = {};
    std::unordered_map<uint64_t, std::vector<uint8_t>> pages_;
};

// What the controller does in a cycle of its clock, two of the chip's.
struct DFICycle {
    DDR3Pins phases[2];
    bool write_enable, read_enable;
    Burst data;
    unsigned mask;                                             // of bytes that are not written
    unsigned select;                                           // lanes that are held, and whose registers change
    bool delay_reset, delay_step, slip_reset, slip_step, clear;
};

class DDR3PHY {
public:
    explicit DDR3PHY(double clock_hz) : chip_(2 * clock_hz) {}

    // A cycle of the controller's clock.
    void edge(const DFICycle& now) {
        enabled_ = enabled_ << 1 | now.write_enable;
        for (const auto& pins : now.phases) command(chip_.edge(pins));
        if (!writes_.empty() && writes_.front().due == chip_.tick() - 1) {
            // A command whose data are not at the pins when the chip takes them has what is there.
            const bool driven = enabled_ >> DDR3_WRITE_CYCLES & 1;
            chip_.write(writes_.front().place, driven ? now.data : noise(), driven ? now.mask : 0);
            writes_.pop_front();
        }
        asked_ = asked_ << 1 | now.read_enable;
        if (asked_ >> DDR3_STROBE_CYCLES & 1) capture(now.select);
        while (!reads_.empty() && reads_.front().due < chip_.tick()) reads_.pop_front();  // that nobody looked at
        deliver();
        registers(now);
    }

    const Burst& data() const { return data_; }
    unsigned seen() const { return seen_; }

private:
    struct Lane {
        unsigned slip, first, last;
        unsigned delay, slips;
    };

    void command(const DDR3Chip::Access& access) {
        if (access.ignored || !(access.write || access.read)) return;
        if (access.write && access.due % 2 == first_) writes_.push_back(access);
        else if (access.write) chip_.write(access.place, noise(), 0);  // the pins never have words at that edge
        else reads_.push_back(access);
    }

    // The strobe's window of a read that was asked for DDR3_STROBE_CYCLES ago: what each lane makes of the burst in it.
    void capture(unsigned held) {
        Burst made = noise();
        const bool there = !reads_.empty() && reads_.front().due == chip_.tick() - 1;
        if (there) {
            const Burst burst = chip_.read(reads_.front().place);
            reads_.pop_front();
            for (unsigned i = 0; i < kLanes; ++i) {
                const Lane& lane = lanes_[i];
                if (held >> i & 1) continue;
                if (lane.delay + 1 >= lane.first && lane.delay <= lane.last) seen_ |= 1u << i;  // the strobe a little before its data
                if (lane.delay < lane.first || lane.delay > lane.last) continue;
                for (unsigned beat = 0; beat < kBeats; ++beat) {
                    const unsigned from = beat + lane.slips - lane.slip;  // wraps where there is none
                    if (from < kBeats) made[i + kLanes * beat] = burst[i + kLanes * from];
                }
            }
        }
        captured_.push_back({cycle() + DDR3_READ_CYCLES - DDR3_STROBE_CYCLES, made});
    }

    void deliver() {
        if (!captured_.empty() && captured_.front().due == cycle() + 1) {
            data_ = captured_.front().data;
            captured_.pop_front();
        } else {
            data_ = noise();
        }
    }

    void registers(const DFICycle& now) {
        if (now.clear) seen_ = 0;
        for (unsigned i = 0; i < kLanes; ++i) {
            Lane& lane = lanes_[i];
            if (!(now.select >> i & 1)) continue;
            lane.delay = now.delay_reset ? 0 : (lane.delay + now.delay_step) % 8;
            lane.slips = now.slip_reset ? 0 : (lane.slips + now.slip_step) % 4;
        }
    }

    uint64_t cycle() const { return chip_.tick() / 2; }
    Burst noise() const {
        const uint64_t words[] = {ddr3_noise(chip_.tick()), ddr3_noise(~chip_.tick())};
        Burst made;
        static_assert(sizeof words == kBurstBytes);
        std::memcpy(made.data(), words, kBurstBytes);
        return made;
    }

    struct Captured {
        uint64_t due;
        Burst data;
    };

    DDR3Chip chip_;
    static constexpr unsigned first_ = 1;  // ticks of words: a cycle's first edge of the chip's clock is tick 1
    Lane lanes_[kLanes] = {DDR3_WINDOWS};
    uint64_t enabled_ = 0, asked_ = 0;  // bit n: n cycles ago
    unsigned seen_ = 0;
    std::deque<DDR3Chip::Access> writes_, reads_;
    std::deque<Captured> captured_;
    Burst data_ = {};
};
