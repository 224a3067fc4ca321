// The clock loop and the memory of the simulated device, around the model that Verilator makes of `systolith`.
//
// Memory: a byte array. Bursts are accepted one per cycle; a read's first word is offered `latency` cycles after its request,
// a write's response `latency` cycles after its last word. One word is read and one written per cycle, or fewer as Settings
// say. An access outside the array answers with an error. What the machine does against the rules of its ports (a payload
// that changes while it waits, data before its request, a wrong `last`) ends the run with a message.
//
// BUS_BYTES and STATUS_OFFSET come from the command line. The host is little-endian, as Verilator's wide ports then are.

#include "Vsystolith.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the simulated device needs a little-endian host"
#endif

namespace {

constexpr unsigned kEngines = 3;           // LOAD, EXECUTE, STORE
constexpr uint32_t kRunning = 1;           // STATUS[1:0]
constexpr size_t kQueue = 64;              // bursts that the memory accepts ahead

struct Settings {                          // as in host/simulated.py
    uint64_t memory_bytes;
    uint32_t latency;                      // cycles from a request to its first word, at least 1
    uint32_t cycles_per_beat;              // at least this many cycles from word to word
    uint32_t half_duplex;                  // reads and writes share the words
    uint32_t stall;                        // of 256: how often each channel hesitates in a cycle
    uint64_t seed;                         // of the hesitations
};

struct Event {                             // a line of the trace, as in host/simulated.py
    uint64_t cycle;
    uint32_t engine;                       // 0 LOAD, 1 EXECUTE, 2 STORE
    uint32_t value;                        // activity from this cycle on; kStarted: a command begins
};
constexpr uint32_t kStarted = 8;

enum Outcome : int32_t { kEnded = 0, kOutOfTime = 1, kProtocol = 2 };

struct Burst {
    uint64_t address;
    uint64_t due;                          // cycle in which it may answer
    uint32_t beats;
    bool error;
};

// A valid/ready channel from the machine, watched for payloads that change or vanish while they wait.
struct Watched {
    uint8_t waiting = 0;
    uint8_t held[BUS_BYTES + 24];

    bool idle(bool valid) const { return !valid && !waiting; }

    bool broken(bool valid, bool ready, const void* payload, size_t bytes) {
        const bool changed = waiting && (!valid || std::memcmp(held, payload, bytes));
        waiting = valid && !ready;
        if (waiting) std::memcpy(held, payload, bytes);
        return changed;
    }
};

class Device {
public:
    explicit Device(const Settings& settings)
        : settings_(settings), context_(new VerilatedContext), top_(new Vsystolith(context_.get())),
          memory_(static_cast<uint8_t*>(std::calloc(settings.memory_bytes, 1))), random_(settings.seed * 2 + 1) {
        context_->traceEverOn(VM_TRACE);
        top_->rst = 1;
        for (int i = 0; i < 4; ++i) tick();
        top_->rst = 0;
        tick();
    }

    ~Device() {
        vcd(nullptr);
        top_->final();
        std::free(memory_);
    }

    uint8_t* memory() { return memory_; }
    uint64_t cycle() const { return cycle_; }
    const std::string& message() const { return message_; }
    std::vector<Event>& events() { return events_; }
    void stop_memory(bool on) { stopped_ = on; }
    uint32_t activity() const { return top_->activity; }
    void trace(bool on) { tracing_ = on; previous_ = ~0u; }

    uint32_t read_register(uint32_t offset) {
        top_->csr_address = offset;
        tick();
        return top_->csr_read_data;
    }

    void write_register(uint32_t offset, uint32_t value) {
        top_->csr_address = offset;
        top_->csr_write_data = value;
        top_->csr_write = 1;
        tick();
        top_->csr_write = 0;
    }

    int32_t run(uint64_t max_cycles) {
        top_->csr_address = STATUS_OFFSET;
        for (const uint64_t end = cycle_ + max_cycles; cycle_ != end;) {
            tick();
            if (!message_.empty()) return kProtocol;
            if ((top_->csr_read_data & 3) != kRunning) return kEnded;
        }
        return kOutOfTime;
    }

    // Starts a VCD file (once), or with nullptr ends it.
    bool vcd(const char* path) {
#if VM_TRACE
        if (path && !vcd_) {
            vcd_.reset(new VerilatedVcdC);
            top_->trace(vcd_.get(), 99);
            vcd_->open(path);
            return vcd_->isOpen();
        }
        if (!path && vcd_ && vcd_->isOpen()) vcd_->close();
#endif
        return path == nullptr;
    }

private:
    bool hesitates() {
        if (!settings_.stall) return false;
        random_ ^= random_ << 13;          // xorshift64 (Marsaglia 2003)
        random_ ^= random_ >> 7;
        random_ ^= random_ << 17;
        return (random_ >> 32 & 255) < settings_.stall;
    }

    bool inside(uint64_t address) const {
        return address <= settings_.memory_bytes - BUS_BYTES && settings_.memory_bytes >= BUS_BYTES;
    }

    void fail(const char* what) {
        if (message_.empty()) message_ = std::string(what) + ", cycle " + std::to_string(cycle_);
    }

    // What the memory offers in this cycle depends on what it accepted in earlier ones only.
    void drive() {
        auto& t = *top_;
        if (stopped_) {
            t.read_request_ready = t.write_request_ready = t.write_data_ready = 0;
            return;
        }
        t.read_request_ready = reads_.size() < kQueue && !hesitates();
        t.write_request_ready = writes_.size() < kQueue && !hesitates();
        const bool gives_way = settings_.half_duplex && read_last_ && t.write_data_valid;
        if (!t.read_response_valid && !reads_.empty() && reads_.front().due <= cycle_ && read_free_ <= cycle_ && !gives_way
            && !hesitates()) {
            const Burst& burst = reads_.front();
            const bool good = inside(burst.address);
            if (good) std::memcpy(&t.read_response_data, memory_ + burst.address, BUS_BYTES);
            else std::memset(&t.read_response_data, 0, BUS_BYTES);
            t.read_response_error = !good;
            t.read_response_valid = 1;
            read_free_ = cycle_ + settings_.cycles_per_beat;
            if (settings_.half_duplex) write_free_ = read_free_;
            read_last_ = true;
        }
        t.write_data_ready = write_free_ <= cycle_ && !hesitates();
        if (!t.write_response_valid && !responses_.empty() && responses_.front().due <= cycle_ && !hesitates()) {
            t.write_response_error = responses_.front().error;
            t.write_response_valid = 1;
        }
    }

    void watch_request(Watched& watch, bool valid, bool ready, uint64_t address, uint64_t beats, const char* what) {
        const uint64_t payload[] = {address, beats};
        if (!watch.idle(valid) && watch.broken(valid, ready, payload, sizeof payload)) fail(what);
    }

    void watch() {
        auto& t = *top_;
        watch_request(read_watch_, t.read_request_valid, t.read_request_ready, t.read_request_address, t.read_request_beats,
                      "a read request changed while it waited");
        watch_request(write_watch_, t.write_request_valid, t.write_request_ready, t.write_request_address, t.write_request_beats,
                      "a write request changed while it waited");
        if (data_watch_.idle(t.write_data_valid)) return;
        struct { uint8_t data[BUS_BYTES]; uint64_t strobe, last; } word;
        std::memcpy(word.data, &t.write_data_data, BUS_BYTES);
        word.strobe = t.write_data_strobe;
        word.last = t.write_data_last;
        if (data_watch_.broken(t.write_data_valid, t.write_data_ready, &word, sizeof word))
            fail("write data changed while it waited");
    }

    void request(std::deque<Burst>& queue, uint64_t address, uint32_t beats, const char* kind) {
        if (address % BUS_BYTES) fail(kind);
        queue.push_back({address, cycle_ + settings_.latency, beats + 1, false});
    }

    void write_word() {
        auto& t = *top_;
        if (writes_.empty()) return fail("write data came before its request");
        Burst& burst = writes_.front();
        uint8_t data[BUS_BYTES];
        std::memcpy(data, &t.write_data_data, BUS_BYTES);
        const uint64_t strobe = t.write_data_strobe;
        if (!inside(burst.address)) burst.error |= strobe != 0;
        else if (strobe == ~0ull >> (64 - BUS_BYTES)) std::memcpy(memory_ + burst.address, data, BUS_BYTES);
        else for (unsigned i = 0; i < BUS_BYTES; ++i) if (strobe >> i & 1) memory_[burst.address + i] = data[i];
        burst.address += BUS_BYTES;
        if ((--burst.beats == 0) != t.write_data_last) fail("a write burst's last word is marked wrongly");
        if (burst.beats == 0) {
            burst.due = cycle_ + settings_.latency;
            responses_.push_back(burst);
            writes_.pop_front();
        }
        write_free_ = cycle_ + settings_.cycles_per_beat;
        if (settings_.half_duplex) read_free_ = write_free_;
        read_last_ = false;
    }

    // The handshakes that the coming clock edge completes.
    void accept() {
        auto& t = *top_;
        watch();
        if (t.read_request_valid && t.read_request_ready)
            request(reads_, t.read_request_address, t.read_request_beats, "a read address is not a multiple of the bus bytes");
        if (t.write_request_valid && t.write_request_ready)
            request(writes_, t.write_request_address, t.write_request_beats, "a write address is not a multiple of the bus bytes");
        if (t.write_data_valid && t.write_data_ready) write_word();
        read_done_ = t.read_response_valid && t.read_response_ready;
        response_done_ = t.write_response_valid && t.write_response_ready;
        if (tracing_) record();
    }

    void record() {
        const uint32_t activity = top_->activity, started = top_->started;
        if (activity == previous_ && !started) return;
        for (unsigned engine = 0; engine < kEngines; ++engine) {
            if (started >> engine & 1) events_.push_back({cycle_, engine, kStarted});
            const uint32_t now = activity >> 3 * engine & 7;
            if (previous_ == ~0u || now != (previous_ >> 3 * engine & 7)) events_.push_back({cycle_, engine, now});
        }
        previous_ = activity;
    }

    void tick() {
        auto& t = *top_;
        drive();
        t.clk = 0;
        t.eval();
        dump(0);
        accept();
        t.clk = 1;
        t.eval();
        dump(5);
        if (read_done_) {
            t.read_response_valid = 0;
            reads_.front().address += BUS_BYTES;
            if (--reads_.front().beats == 0) reads_.pop_front();
        }
        if (response_done_) {
            t.write_response_valid = 0;
            responses_.pop_front();
        }
        ++cycle_;
    }

    void dump(uint64_t phase) {
#if VM_TRACE
        if (vcd_ && vcd_->isOpen()) vcd_->dump(cycle_ * 10 + phase);
#else
        (void)phase;
#endif
    }

    const Settings settings_;
    const std::unique_ptr<VerilatedContext> context_;
    const std::unique_ptr<Vsystolith> top_;
    uint8_t* const memory_;
    uint64_t cycle_ = 0, read_free_ = 0, write_free_ = 0;
    uint64_t random_;
    bool read_done_ = false, response_done_ = false, read_last_ = false, tracing_ = false, stopped_ = false;
    uint32_t previous_ = ~0u;
    std::deque<Burst> reads_, writes_, responses_;
    Watched read_watch_, write_watch_, data_watch_;
    std::vector<Event> events_;
    std::string message_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd_;
#endif
};

}  // namespace

extern "C" {
Device* systolith_create(const Settings* settings) { return new Device(*settings); }
void systolith_destroy(Device* device) { delete device; }
uint8_t* systolith_memory(Device* device) { return device->memory(); }
uint32_t systolith_read_register(Device* device, uint32_t offset) { return device->read_register(offset); }
void systolith_write_register(Device* device, uint32_t offset, uint32_t value) { device->write_register(offset, value); }
int32_t systolith_run(Device* device, uint64_t max_cycles) { return device->run(max_cycles); }
uint64_t systolith_cycle(Device* device) { return device->cycle(); }
uint32_t systolith_activity(Device* device) { return device->activity(); }
const char* systolith_message(Device* device) { return device->message().c_str(); }
int32_t systolith_vcd(Device* device, const char* path) { return device->vcd(path); }
void systolith_stop_memory(Device* device, int32_t on) { device->stop_memory(on); }
void systolith_trace(Device* device, int32_t on) { device->trace(on); }
uint64_t systolith_event_count(Device* device) { return device->events().size(); }
const Event* systolith_events(Device* device) { return device->events().data(); }
void systolith_clear_events(Device* device) { device->events().clear(); }
}
