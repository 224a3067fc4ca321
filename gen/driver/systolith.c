/* See systolith_driver.h. */
#include "systolith_driver.h"

#include <stddef.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct { uint32_t offset, value; } identity[] = {SYSTOLITH_TABLE_IDENTITY};
static const char *const error_names[] = {SYSTOLITH_TABLE_ERROR_NAMES};
static const char *const error_help[] = {SYSTOLITH_TABLE_ERROR_HELP};

uint32_t systolith_read(const systolith_device *device, uint32_t offset)
{
    return device->read ? device->read(device->context, offset) : device->registers[offset / 4];
}

void systolith_write(const systolith_device *device, uint32_t offset, uint32_t value)
{
    if (device->write)
        device->write(device->context, offset, value);
    else
        device->registers[offset / 4] = value;
}

static void barrier(const systolith_device *device)
{
    if (device->barrier)
        device->barrier(device->context);
}

static uint32_t state(const systolith_device *device)
{
    return systolith_read(device, SYSTOLITH_STATUS) & 3u;
}

static uint64_t read_pair(const systolith_device *device, uint32_t offset)
{
    return systolith_read(device, offset) | (uint64_t)systolith_read(device, offset + 4) << 32;
}

static void write_pair(const systolith_device *device, uint32_t offset, uint64_t value)
{
    systolith_write(device, offset, (uint32_t)value);
    systolith_write(device, offset + 4, (uint32_t)(value >> 32));
}

systolith_result systolith_check(const systolith_device *device)
{
    size_t i;

    if (systolith_read(device, SYSTOLITH_MAGIC) != SYSTOLITH_IS_MAGIC)
        return SYSTOLITH_ABSENT;
    for (i = 0; i < COUNT(identity); i++)
        if (systolith_read(device, identity[i].offset) != identity[i].value)
            return SYSTOLITH_MISMATCH;
    return SYSTOLITH_OK;
}

void systolith_set_base(const systolith_device *device, unsigned index, uint64_t base, uint64_t size)
{
    const uint32_t stride = SYSTOLITH_BASE1_LO - SYSTOLITH_BASE0_LO;

    write_pair(device, SYSTOLITH_BASE0_LO + stride * index, base);
    write_pair(device, SYSTOLITH_SIZE0_LO + stride * index, size);
}

static systolith_result begin(const systolith_device *device, uint32_t offset, uint32_t words, uint32_t action)
{
    uint32_t status;

    systolith_write(device, SYSTOLITH_PROGRAM_OFFSET, offset);
    systolith_write(device, SYSTOLITH_PROGRAM_WORDS, words);
    barrier(device);
    systolith_write(device, SYSTOLITH_CONTROL, action);
    status = systolith_read(device, SYSTOLITH_STATUS);
    if (!(status & SYSTOLITH_STATUS_START_REFUSED))
        return SYSTOLITH_OK;
    return (status & 3u) == SYSTOLITH_STATE_ERROR ? SYSTOLITH_FAILED : SYSTOLITH_REFUSED;
}

systolith_result systolith_start(const systolith_device *device, uint32_t offset, uint32_t words)
{
    if (state(device) == SYSTOLITH_STATE_RUNNING)
        return SYSTOLITH_REFUSED;
    return begin(device, offset, words, SYSTOLITH_CONTROL_START);
}

systolith_result systolith_enqueue(const systolith_device *device, uint32_t offset, uint32_t words)
{
    return begin(device, offset, words, SYSTOLITH_CONTROL_ENQUEUE);
}

void systolith_select_bases(const systolith_device *device, unsigned set)
{
    systolith_write(device, SYSTOLITH_PROGRAM_BASES, set);
}

uint32_t systolith_completed(const systolith_device *device)
{
    return systolith_read(device, SYSTOLITH_COMPLETED);
}

systolith_result systolith_wait(const systolith_device *device, uint32_t looks)
{
    for (; looks; looks--) {
        const uint32_t now = state(device);

        if (now != SYSTOLITH_STATE_RUNNING) {
            barrier(device);
            return now == SYSTOLITH_STATE_DONE ? SYSTOLITH_OK : now == SYSTOLITH_STATE_ERROR ? SYSTOLITH_FAILED : SYSTOLITH_STOPPED;
        }
        if (device->pause)
            device->pause(device->context);
    }
    return SYSTOLITH_TIMEOUT;
}

systolith_result systolith_run(const systolith_device *device, uint32_t offset, uint32_t words, uint32_t looks)
{
    const systolith_result started = systolith_start(device, offset, words);

    return started == SYSTOLITH_OK ? systolith_wait(device, looks) : started;
}

void systolith_abort(const systolith_device *device)
{
    systolith_write(device, SYSTOLITH_CONTROL, SYSTOLITH_CONTROL_ABORT);
}

systolith_result systolith_reset(const systolith_device *device, uint32_t looks)
{
    systolith_write(device, SYSTOLITH_CONTROL, SYSTOLITH_CONTROL_RESET);
    return systolith_wait(device, looks) == SYSTOLITH_TIMEOUT ? SYSTOLITH_TIMEOUT : SYSTOLITH_OK;
}

void systolith_enable_interrupt(const systolith_device *device, int enable)
{
    systolith_write(device, SYSTOLITH_IRQ_ENABLE, enable ? 1u : 0u);
}

void systolith_clear_interrupt(const systolith_device *device)
{
    systolith_write(device, SYSTOLITH_CONTROL, SYSTOLITH_CONTROL_CLEAR_IRQ);
}

systolith_error systolith_read_error(const systolith_device *device)
{
    systolith_error error;

    error.code = systolith_read(device, SYSTOLITH_ERROR_CODE);
    error.engine = systolith_read(device, SYSTOLITH_ERROR_ENGINE);
    error.command = systolith_read(device, SYSTOLITH_ERROR_COMMAND);
    error.address = read_pair(device, SYSTOLITH_ERROR_ADDRESS_LO);
    return error;
}

systolith_counters systolith_read_counters(const systolith_device *device)
{
    systolith_counters counters;

    counters.cycles = systolith_read(device, SYSTOLITH_CYCLES);
    counters.bytes_read = systolith_read(device, SYSTOLITH_BYTES_READ);
    counters.bytes_written = systolith_read(device, SYSTOLITH_BYTES_WRITTEN);
    counters.commands = systolith_read(device, SYSTOLITH_COMMANDS);
    return counters;
}

const char *systolith_result_text(systolith_result result)
{
    switch (result) {
    case SYSTOLITH_OK: return "the program has ended well";
    case SYSTOLITH_ABSENT: return "no accelerator answers at this address";
    case SYSTOLITH_MISMATCH: return "this is another accelerator than systolith.h describes; load the bitstream built with it";
    case SYSTOLITH_REFUSED: return "a program runs already, or the queue is full; wait for an end";
    case SYSTOLITH_TIMEOUT: return "the program has not ended in time; abort or reset";
    case SYSTOLITH_FAILED: return "the program ended with an error";
    case SYSTOLITH_STOPPED: return "no program has run since the last reset";
    }
    return "unknown result";
}

const char *systolith_error_name(uint32_t code)
{
    return code < COUNT(error_names) ? error_names[code] : "unknown";
}

const char *systolith_error_help(uint32_t code)
{
    return code < COUNT(error_help) ? error_help[code] : "a code that this driver does not know";
}
