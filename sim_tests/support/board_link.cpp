// A whole board without a terminal in front: its time goes on only while a test sends or waits, so that every run is the same.

#include "adapter.h"

#include "Vsystolith_board.h"
#include "verilated.h"

#include <cstddef>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

namespace {

// The line is inverted from cycle `from` on, before `to`.
struct Spike {
    uint64_t from = 0, to = 0;

    bool at(uint64_t cycle) const { return cycle >= from && cycle < to; }
};

struct Board {
    VerilatedContext context;
    Vsystolith_board model{&context};
    Sender sender;
    Receiver receiver, unspoilt, at_board;
    std::deque<Byte> coming;  // held back by the adapter
    std::vector<unsigned char> received, heard;
    Spike to_board, from_board;
    uint64_t cycle = 0, latency = 0;
    double bit_cycles = 1, send_cycles = 1;
    bool spoilt = false;

    void step() {
        unsigned char byte = 0, sent = 0;
        model.rx = sender.step(cycle) ^ to_board.at(cycle);
        if (at_board.step(cycle, bit_cycles, model.rx, byte)) heard.push_back(byte);
        model.oscillator = 0;
        model.eval();
        model.oscillator = 1;
        model.eval();
        const bool came = receiver.step(cycle, bit_cycles, model.tx ^ from_board.at(cycle), byte);
        const bool went = unspoilt.step(cycle, bit_cycles, model.tx, sent);
        spoilt |= came != went || (came && byte != sent);
        if (came) coming.push_back({cycle + latency, byte});
        for (; !coming.empty() && coming.front().due <= cycle; coming.pop_front()) received.push_back(coming.front().value);
        ++cycle;
    }
};

}  // namespace

extern "C" {

Board* board_open() {
    auto* board = new Board;
    board->model.rx = 1;
    return board;
}

void board_close(Board* board) { delete board; }

uint64_t board_cycles(const Board* board) { return board->cycle; }

// Cycles per bit of the adapter from now on.
void board_rate(Board* board, double bit_cycles) { board->bit_cycles = board->send_cycles = bit_cycles; }

// And of what it sends, until then.
void board_send_rate(Board* board, double bit_cycles) { board->send_cycles = bit_cycles; }

// Whether a receiver at the board's pin, at the adapter's rate, heard these bytes and no others since the last call.
bool board_heard(Board* board, const unsigned char* bytes, size_t count) {
    const bool same = std::vector<unsigned char>(bytes, bytes + count) == board->heard;
    board->heard.clear();
    board->at_board = {};
    return same;
}

// Whether a spike made the adapter receive something else than the board sent since the last call.
bool board_spoilt(Board* board) { return std::exchange(board->spoilt, false); }

// Cycles for which the adapter holds each byte back, either way.
void board_latency(Board* board, uint64_t cycles) { board->latency = cycles; }

// Invert the line to the board (way 0) or from it (1) for `cycles`, `after` so many.
void board_spike(Board* board, int way, uint64_t after, uint64_t cycles) {
    (way ? board->from_board : board->to_board) = {board->cycle + after, board->cycle + after + cycles};
}

// All bytes to the board, until the last one is on the line.
void board_send(Board* board, const unsigned char* bytes, size_t count) {
    for (size_t i = 0; i < count; ++i) board->sender.send({board->cycle + board->latency, bytes[i]}, board->send_cycles);
    while (board->sender.busy()) board->step();
}

// Until `count` bytes are there, or none has come for `silence` cycles: how many are there.
size_t board_wait(Board* board, size_t count, uint64_t silence) {
    size_t seen = board->received.size();
    for (uint64_t last = board->cycle; board->received.size() < count && board->cycle - last < silence; board->step())
        if (board->received.size() != seen) {
            seen = board->received.size();
            last = board->cycle;
        }
    return board->received.size();
}

// The first `count` bytes that are there.
void board_take(Board* board, unsigned char* bytes, size_t count) {
    std::memcpy(bytes, board->received.data(), count);
    board->received.erase(board->received.begin(), board->received.begin() + static_cast<std::ptrdiff_t>(count));
}
}
