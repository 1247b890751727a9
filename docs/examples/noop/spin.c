/* spin: burns an exact amount of work, for benchmarks.
 *
 * Usage: spin [N]
 *   N  rounds to run, 0..1000000000, default 1. One round is 500000 steps of a
 *      xorshift generator, about a millisecond on a desktop core; every run
 *      of the same N executes the same instructions, so it burns the same fuel.
 *
 * Output: the generator's last state, 16 hexadecimal digits and a newline. It
 * depends on every step, so a result can be checked and no step left out.
 * Exit: 0 done, 1 standard output could not be written, 2 wrong arguments.
 */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_IO = 1, EXIT_USAGE = 2 };

#define STEPS_PER_ROUND 500000u
#define MAX_ROUNDS 1000000000u

/* Reads a decimal of at most MAX_ROUNDS; -1 for anything else. */
static int64_t parse_rounds(const char *text)
{
    if (*text == '\0')
        return -1;
    int64_t value = 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        value = value * 10 + (*text - '0');
        if (value > (int64_t)MAX_ROUNDS)
            return -1;
    }
    return value;
}

int main(int argc, char **argv)
{
    int64_t rounds = argc > 1 ? parse_rounds(argv[1]) : 1;
    if (argc > 2 || rounds < 0) {
        static const char usage[] = "usage: spin [N], with N in 0..1000000000\n";
        (void)!write(STDERR_FILENO, usage, sizeof usage - 1);
        return EXIT_USAGE;
    }

    uint64_t state = 0x9e3779b97f4a7c15u;
    for (int64_t round = 0; round < rounds; round++) {
#pragma clang loop unroll(disable)
        for (uint32_t step = 0; step < STEPS_PER_ROUND; step++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
    }

    char text[17];
    for (int digit = 0; digit < 16; digit++)
        text[digit] = "0123456789abcdef"[(state >> (60 - 4 * digit)) & 15];
    text[16] = '\n';
    return write(STDOUT_FILENO, text, sizeof text) == (ssize_t)sizeof text ? 0 : EXIT_IO;
}
