/* Drives the simulated device with the C driver: drive LIBRARY SETTINGS MEMORY STEP…
 *
 * SETTINGS is a file with the library's Settings, MEMORY one with the device memory: copied in before the first step and back
 * after the last. Each step is a call, its arguments behind colons, and prints one line.
 */
#define _POSIX_C_SOURCE 200809L
#include "systolith_driver.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void *device;
    void *(*create)(const void *);
    uint8_t *(*memory)(void *);
    uint32_t (*read_register)(void *, uint32_t);
    void (*write_register)(void *, uint32_t, uint32_t);
    int32_t (*run)(void *, uint64_t);
    void (*destroy)(void *);
} simulation;

static unsigned barriers;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(2);
}

static void load(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    if (!symbol)
        fail(name);
    memcpy(function, &symbol, sizeof symbol);
}

static uint32_t read_hook(void *context, uint32_t offset) { return simulation.read_register(context, offset); }
static void write_hook(void *context, uint32_t offset, uint32_t value) { simulation.write_register(context, offset, value); }
static void pause_hook(void *context) { (void)simulation.run(context, 1000); }
static void barrier_hook(void *context) { (void)context; barriers++; }

static void show(systolith_result result) { printf("%d %s\n", (int)result, systolith_result_text(result)); }

static void step(const systolith_device *device, const char *text)
{
    uint64_t argument[3] = {0, 0, 0};
    char name[16] = "";
    const char *at = strchr(text, ':');
    unsigned i;

    snprintf(name, sizeof name, "%.*s", (int)(at ? at - text : (long)strlen(text)), text);
    for (i = 0; at && i < 3; i++, at = strchr(at + 1, ':'))
        argument[i] = strtoull(at + 1, NULL, 0);
    if (!strcmp(name, "check"))
        show(systolith_check(device));
    else if (!strcmp(name, "base"))
        systolith_set_base(device, (unsigned)argument[0], argument[1], argument[2]);
    else if (!strcmp(name, "run"))
        show(systolith_run(device, (uint32_t)argument[0], (uint32_t)argument[1], (uint32_t)argument[2]));
    else if (!strcmp(name, "start"))
        show(systolith_start(device, (uint32_t)argument[0], (uint32_t)argument[1]));
    else if (!strcmp(name, "enqueue"))
        show(systolith_enqueue(device, (uint32_t)argument[0], (uint32_t)argument[1]));
    else if (!strcmp(name, "select"))
        systolith_select_bases(device, (unsigned)argument[0]);
    else if (!strcmp(name, "completed"))
        printf("%" PRIu32 "\n", systolith_completed(device));
    else if (!strcmp(name, "wait"))
        show(systolith_wait(device, (uint32_t)argument[0]));
    else if (!strcmp(name, "reset"))
        show(systolith_reset(device, (uint32_t)argument[0]));
    else if (!strcmp(name, "abort"))
        systolith_abort(device);
    else if (!strcmp(name, "irq"))
        systolith_enable_interrupt(device, (int)argument[0]);
    else if (!strcmp(name, "clear"))
        systolith_clear_interrupt(device);
    else if (!strcmp(name, "read"))
        printf("%" PRIu32 "\n", systolith_read(device, (uint32_t)argument[0]));
    else if (!strcmp(name, "barriers"))
        printf("%u\n", barriers);
    else if (!strcmp(name, "error")) {
        const systolith_error error = systolith_read_error(device);
        printf("%s engine %" PRIu32 " command %" PRIu32 " address 0x%" PRIx64 ": %s\n", systolith_error_name(error.code), error.engine,
               error.command, error.address, systolith_error_help(error.code));
    } else if (!strcmp(name, "counters")) {
        const systolith_counters counters = systolith_read_counters(device);
        printf("%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", counters.cycles, counters.bytes_read, counters.bytes_written,
               counters.commands);
    } else
        fail(text);
}

int main(int count, char **arguments)
{
    systolith_device device = {0};
    char settings[256] = {0};
    void *library;
    FILE *file;
    size_t bytes;
    int i;

    if (count < 4 || !(library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL)))
        fail("drive LIBRARY SETTINGS MEMORY STEP...");
    load(library, "systolith_create", &simulation.create);
    load(library, "systolith_memory", &simulation.memory);
    load(library, "systolith_read_register", &simulation.read_register);
    load(library, "systolith_write_register", &simulation.write_register);
    load(library, "systolith_run", &simulation.run);
    load(library, "systolith_destroy", &simulation.destroy);

    if (!(file = fopen(arguments[2], "rb")) || !fread(settings, 1, sizeof settings, file))
        fail(arguments[2]);
    fclose(file);
    simulation.device = simulation.create(settings);
    if (!(file = fopen(arguments[3], "r+b")) || fseek(file, 0, SEEK_END))
        fail(arguments[3]);
    bytes = (size_t)ftell(file);
    rewind(file);
    if (fread(simulation.memory(simulation.device), 1, bytes, file) != bytes)
        fail(arguments[3]);

    device.context = simulation.device;
    device.read = read_hook;
    device.write = write_hook;
    device.pause = pause_hook;
    device.barrier = barrier_hook;
    for (i = 4; i < count; i++)
        step(&device, arguments[i]);

    rewind(file);
    if (fwrite(simulation.memory(simulation.device), 1, bytes, file) != bytes || fclose(file))
        fail(arguments[3]);
    simulation.destroy(simulation.device);
    return 0;
}
