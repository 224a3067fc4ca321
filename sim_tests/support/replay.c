/* What a user writes around the files of systolith compile: runs program PROGRAM of network.h on the simulated device.
 *
 * replay LIBRARY SETTINGS MEMORY PROGRAM; MEMORY is a file with the device memory, copied in before the run and back after it.
 */
#include "network.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void *(*create)(const void *);
    uint8_t *(*memory)(void *);
    uint32_t (*read_register)(void *, uint32_t);
    void (*write_register)(void *, uint32_t, uint32_t);
    int32_t (*run)(void *, uint64_t);
} simulation;

static void load(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    if (!symbol)
        exit(3);
    memcpy(function, &symbol, sizeof symbol);
}

static uint32_t read_hook(void *context, uint32_t offset) { return simulation.read_register(context, offset); }
static void write_hook(void *context, uint32_t offset, uint32_t value) { simulation.write_register(context, offset, value); }
static void pause_hook(void *context) { (void)simulation.run(context, 1000); }

int main(int count, char **arguments)
{
    systolith_device device = {0};
    systolith_result result;
    char settings[256] = {0};
    void *library = count == 5 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    FILE *file;

    if (!library)
        return 2;
    load(library, "systolith_create", &simulation.create);
    load(library, "systolith_memory", &simulation.memory);
    load(library, "systolith_read_register", &simulation.read_register);
    load(library, "systolith_write_register", &simulation.write_register);
    load(library, "systolith_run", &simulation.run);
    if (!(file = fopen(arguments[2], "rb")) || !fread(settings, 1, sizeof settings, file) || fclose(file))
        return 2;
    device.context = simulation.create(settings);
    device.read = read_hook;
    device.write = write_hook;
    device.pause = pause_hook;
    if (!(file = fopen(arguments[3], "r+b")))
        return 2;
    if (fread(simulation.memory(device.context), 1, SYSTOLITH_NETWORK_MEMORY_BYTES, file) != SYSTOLITH_NETWORK_MEMORY_BYTES)
        return 2;
    result = systolith_check(&device);
    if (result == SYSTOLITH_OK)
        result = systolith_network_run(&device, (unsigned)atoi(arguments[4]), 1000000u);
    printf("%d %s; %" PRIu32 " cycles\n", (int)result, systolith_result_text(result), systolith_read_counters(&device).cycles);
    rewind(file);
    if (fwrite(simulation.memory(device.context), 1, SYSTOLITH_NETWORK_MEMORY_BYTES, file) != SYSTOLITH_NETWORK_MEMORY_BYTES || fclose(file))
        return 2;
    return 0;
}
