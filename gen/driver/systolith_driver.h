/* Driver of one generated accelerator: C99, no allocation, no library; works freestanding.
 *
 * A device is registers and memory. The driver touches the registers only: where programs and tensors lie, and how they get
 * there, is the caller's. It fits the accelerator whose systolith.h lies beside it, and refuses any other one.
 *
 *     systolith_device device = {.registers = (volatile uint32_t *)0x43c00000};
 *     if (systolith_check(&device) == SYSTOLITH_OK) {
 *         systolith_set_base(&device, 0, program_address, program_bytes);
 *         systolith_set_base(&device, 1, a_address, a_bytes);
 *         result = systolith_run(&device, 0, program_words, 1000000);
 *     }
 */
#ifndef SYSTOLITH_DRIVER_H
#define SYSTOLITH_DRIVER_H

#include "systolith.h"

/* How the registers are reached. Unused hooks are NULL. */
typedef struct systolith_device {
    volatile uint32_t *registers;                               /* memory-mapped; used where `read` and `write` are NULL */
    uint32_t (*read)(void *context, uint32_t offset);           /* another way to them: a serial line, a simulation */
    void (*write)(void *context, uint32_t offset, uint32_t value);
    void (*barrier)(void *context);                             /* before a start and after an end: write back and drop caches */
    void (*pause)(void *context);                               /* between two looks at STATUS: sleep, or wait for the interrupt */
    void *context;                                              /* passed to the hooks */
} systolith_device;

typedef enum systolith_result {
    SYSTOLITH_OK = 0,
    SYSTOLITH_ABSENT = 1,      /* no accelerator answers */
    SYSTOLITH_MISMATCH = 2,    /* another accelerator than this systolith.h describes */
    SYSTOLITH_REFUSED = 3,     /* a program runs already, or the queue is full */
    SYSTOLITH_TIMEOUT = 4,     /* still running after so many looks */
    SYSTOLITH_FAILED = 5,      /* the program ended with an error: see systolith_read_error */
    SYSTOLITH_STOPPED = 6      /* no program has run since the last reset */
} systolith_result;

/* Why a program ended; `command` counts the engine's commands, or all of them for FETCH. */
typedef struct systolith_error {
    uint32_t code;             /* SYSTOLITH_ERROR_… */
    uint32_t engine;           /* SYSTOLITH_ENGINE_… */
    uint32_t command;
    uint64_t address;          /* for ADDRESS and BUS */
} systolith_error;

/* Of the last program. */
typedef struct systolith_counters {
    uint32_t cycles, bytes_read, bytes_written, commands;
} systolith_counters;

/* Any register by its offset. The stall counters are read so: systolith_read(&device, SYSTOLITH_LOAD_MEMORY). */
uint32_t systolith_read(const systolith_device *device, uint32_t offset);
void systolith_write(const systolith_device *device, uint32_t offset, uint32_t value);

/* Whether the device is the accelerator of systolith.h: OK, ABSENT or MISMATCH. */
systolith_result systolith_check(const systolith_device *device);

/* Base register `index`: memory addresses base … base + size - 1 may be touched through it. Not those of the running program. */
void systolith_set_base(const systolith_device *device, unsigned index, uint64_t base, uint64_t size);

/* Start the program of `words` 32-bit words at byte `offset` from base 0. OK or REFUSED. */
systolith_result systolith_start(const systolith_device *device, uint32_t offset, uint32_t words);

/* Queue a program: start it, or let it begin when those before it have ended. REFUSED if the queue is full, FAILED after an error.
 * Up to SYSTOLITH_IS_QUEUE_PROGRAMS wait. There are two sets of base registers: systolith_select_bases says which one
 * systolith_set_base sets and the next program uses; a set is set again once the programs that use it have ended. */
systolith_result systolith_enqueue(const systolith_device *device, uint32_t offset, uint32_t words);
void systolith_select_bases(const systolith_device *device, unsigned set);

/* Programs that ended well since the last reset, modulo 65536; the interrupt comes for each. 0 without a queue. */
uint32_t systolith_completed(const systolith_device *device);

/* Look at STATUS up to `looks` times until no program runs, with `pause` between two looks. OK, FAILED, TIMEOUT or STOPPED. */
systolith_result systolith_wait(const systolith_device *device, uint32_t looks);

/* Start and wait. */
systolith_result systolith_run(const systolith_device *device, uint32_t offset, uint32_t words, uint32_t looks);

/* End the running program with the error ABORTED; the memory accesses that have begun are completed first. */
void systolith_abort(const systolith_device *device);

/* Back to the state after power-up, except base registers; waits for the end of a running program as systolith_wait does. */
systolith_result systolith_reset(const systolith_device *device, uint32_t looks);

/* Interrupt at the end of each program, and its acknowledgement. */
void systolith_enable_interrupt(const systolith_device *device, int enable);
void systolith_clear_interrupt(const systolith_device *device);

systolith_error systolith_read_error(const systolith_device *device);
systolith_counters systolith_read_counters(const systolith_device *device);

/* Names and advice in words, for messages. */
const char *systolith_result_text(systolith_result result);
const char *systolith_error_name(uint32_t code);
const char *systolith_error_help(uint32_t code);

#endif
