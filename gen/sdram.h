// An SDR SDRAM chip at its pins, as data sheets of such chips (JEDEC 21-C, 3.11.5.1) describe it: nothing works before the sequence that
// follows power-up, and a controller that breaks a rule ends the simulation with a line that says which. One word for a command.
//
// SDRAM_ROW_BITS, SDRAM_COLUMN_BITS, SDRAM_BANK_BITS and SDRAM_DATA_BITS say how large it is.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

struct SDRAMPins {
    bool cke, cs_n, ras_n, cas_n, we_n;
    unsigned bank, address, mask;
    uint32_t data;
};

class SDRAM {
public:
    explicit SDRAM(double clock_hz) : clock_hz_(clock_hz), words_(size_t{1} << (kBankBits + kRowBits + kColumnBits)) {
        uint32_t noise = 1;
        for (auto& word : words_) {
            noise = noise * 1664525u + 1013904223u;
            word = (noise ^ noise >> 16) & kWord;
        }
        for (auto& bank : banks_) bank = Bank{};
    }

    bool drives() const { return output_ & 1; }
    // Without a chip that drives them, pins read as anything.
    uint32_t data() const { return drives() ? data_[0] : kWord & static_cast<uint32_t>(cycle_ * 2654435761u); }

    // Somebody else drives the data pins.
    void foreign() const { if (drives()) broken("both ends drive the data pins"); }

    // A rising edge of the chip's clock.
    void edge(const SDRAMPins& pins) {
        ++cycle_;
        output_ >>= 1;
        for (int i = 0; i < 3; ++i) data_[i] = data_[i + 1];
        masked_ = masked_ << 1 | (pins.mask != 0);
        if (masked_ & 2) output_ &= ~1u;  // the mask takes two cycles to what is read
        if (!pins.cke || pins.cs_n) return;
        const unsigned command = pins.ras_n << 2 | pins.cas_n << 1 | pins.we_n;
        if (command == 7) return;
        if (cycle_ < cycles(100e3)) return;  // after power-up a chip understands nothing for 100 µs
        Bank& bank = banks_[pins.bank & ((1u << kBankBits) - 1)];
        const bool all = pins.address >> 10 & 1;
        switch (command) {
        case 0: mode(pins.address); break;
        case 1: refresh(); break;
        case 2:
            for (auto& one : banks_) if (all || &one == &bank) precharge(one);
            if (all) precharged_ = true;
            break;
        case 3: activate(bank, pins.address); break;
        case 4: write(bank, pins, all); break;
        case 5: read(bank, pins, all); break;
        default: broken("a burst is ended, and there are none");
        }
    }

private:
    static constexpr unsigned kRowBits = SDRAM_ROW_BITS, kColumnBits = SDRAM_COLUMN_BITS, kBankBits = SDRAM_BANK_BITS,
                              kDataBits = SDRAM_DATA_BITS;
    static constexpr uint32_t kWord = ~0u >> (32 - kDataBits);
    static constexpr double kRowNs = 20, kPrechargeNs = 20, kRefreshNs = 60, kActiveNs = 42, kRefreshesNs = 64e6 / (1u << kRowBits);

    struct Bank {
        bool open = false;
        unsigned row = 0;
        uint64_t activated = 0, free = 0, written = 0;  // cycles: of the last command, when it may be activated, of the last word
    };

    uint64_t cycles(double ns) const { return static_cast<uint64_t>(std::ceil(ns * 1e-9 * clock_hz_ - 1e-6)); }
    bool ready() const { return precharged_ && refreshes_ >= 2 && latency_; }

    [[noreturn]] void broken(const char* rule) const {
        std::fprintf(stderr, "SDRAM: %s (cycle %llu)\n", rule, static_cast<unsigned long long>(cycle_));
        std::exit(3);
    }

    void mode(unsigned value) {
        for (auto& bank : banks_) if (bank.open) broken("the mode is set while a row is open");
        const unsigned latency = value >> 4 & 7;
        // Only words, in sequence, and no test mode.
        latency_ = (value & 0x18F) == 0 && (latency == 2 || latency == 3) ? latency : 0;
        free_ = cycle_ + 2;
    }

    void refresh() {
        for (auto& bank : banks_) {
            if (bank.open) broken("a refresh while a row is open");
            if (ready() && cycle_ < bank.free) broken("a refresh too soon after precharge");
            bank.free = cycle_ + cycles(kRefreshNs);
        }
        if (precharged_) ++refreshes_;
        refreshed_ = cycle_;
    }

    void precharge(Bank& bank) {
        if (bank.open && cycle_ < bank.activated + cycles(kActiveNs)) broken("precharge too soon after activate");
        if (bank.open && cycle_ < bank.written + 2) broken("precharge too soon after a write");
        if (bank.open) bank.free = cycle_ + cycles(kPrechargeNs);
        bank.open = false;
    }

    void activate(Bank& bank, unsigned row) {
        if (!ready()) return;
        if (bank.open) broken("activate while a row of the bank is open");
        if (cycle_ < bank.free || cycle_ < free_) broken("activate too soon");
        // Eight may be owed.
        if (cycle_ > refreshed_ + 9 * cycles(kRefreshesNs)) broken("refreshes are missing");
        bank.open = true;
        bank.row = row & ((1u << kRowBits) - 1);
        bank.activated = cycle_;
    }

    uint32_t& word(const Bank& bank, const SDRAMPins& pins) {
        if (!bank.open) broken("an access without an open row");
        if (cycle_ < bank.activated + cycles(kRowNs)) broken("an access too soon after activate");
        const size_t index = static_cast<size_t>(&bank - banks_) << kRowBits | bank.row;
        return words_[index << kColumnBits | (pins.address & ((1u << kColumnBits) - 1))];
    }

    void close(Bank& bank, uint64_t after) {
        bank.open = false;
        const uint64_t start = std::max(cycle_ + after, bank.activated + cycles(kActiveNs));
        bank.free = start + cycles(kPrechargeNs);
    }

    void write(Bank& bank, const SDRAMPins& pins, bool precharge) {
        if (!ready()) return;
        uint32_t& place = word(bank, pins);
        for (unsigned byte = 0; byte < kDataBits / 8; ++byte)
            if (!(pins.mask >> byte & 1)) {
                const uint32_t lane = 0xFFu << 8 * byte;
                place = (place & ~lane) | (pins.data & lane);
            }
        bank.written = cycle_;
        if (precharge) close(bank, 2);
    }

    void read(Bank& bank, const SDRAMPins& pins, bool precharge) {
        if (!ready()) return;
        // From the edge before the one that it is meant for.
        data_[latency_ - 1] = word(bank, pins);
        output_ |= 1u << (latency_ - 1);
        if (precharge) close(bank, 1);
    }

    double clock_hz_;
    std::vector<uint32_t> words_;
    Bank banks_[1 << kBankBits];
    uint64_t cycle_ = 0, free_ = 0, refreshed_ = 0;
    unsigned refreshes_ = 0, latency_ = 0, output_ = 0, masked_ = 0;
    bool precharged_ = false;
    uint32_t data_[4] = {};
};
