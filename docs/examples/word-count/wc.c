/* wc: counts the lines, words and bytes of one file, exactly as GNU `wc` does
 * in the C locale.
 *
 * Usage: wc [INFILE [OUTFILE]]
 *   INFILE   file to read; `-` or absent: standard input
 *   OUTFILE  file to write (created or truncated); `-` or absent: standard output
 *
 * Output: "LINES WORDS BYTES\n", three decimals separated by one space.
 * Exit: 0 counted, 1 a file could not be read or written, 2 wrong arguments.
 *
 * The word rule of GNU wc in the C locale has three classes of bytes:
 *   separators  09..0d and 20   end a word
 *   graphic     21..7e          begin a word, or go on with one
 *   all others  (control bytes, 7f, 80..ff) change nothing: they neither begin
 *               nor end a word.
 * So "a\x80b" is one word, "\x80" is none, and a file of UTF-8 text counts a
 * word only where at least one ASCII graphic byte stands.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_IO = 1, EXIT_USAGE = 2 };

enum class { OTHER = 0, GRAPHIC = 1, SEPARATOR = 2 };

/* Read size: big enough that host calls cost nothing, small enough that the
 * module needs only a few pages of memory. */
#define CHUNK (64u * 1024u)

static unsigned char chunk[CHUNK];
static unsigned char class_of[256];

static void fill_classes(void)
{
    for (int byte = 0x21; byte <= 0x7e; byte++)
        class_of[byte] = GRAPHIC;
    for (int byte = 0x09; byte <= 0x0d; byte++)
        class_of[byte] = SEPARATOR;
    class_of[0x20] = SEPARATOR;
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static void say(const char *text)
{
    (void)write_all(STDERR_FILENO, text, strlen(text));
}

static int fail(const char *what, const char *name)
{
    say("wc: cannot ");
    say(what);
    say(" ");
    say(name);
    say("\n");
    return EXIT_IO;
}

/* Writes `value` in decimal so that it ends right before `end`; returns where
 * it begins. */
static char *decimal_before(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

int main(int argc, char **argv)
{
    if (argc > 3) {
        say("usage: wc [INFILE [OUTFILE]]\n");
        return EXIT_USAGE;
    }
    const char *in_name = argc > 1 ? argv[1] : "-";
    const char *out_name = argc > 2 ? argv[2] : "-";

    int in = STDIN_FILENO;
    if (strcmp(in_name, "-") != 0) {
        in = open(in_name, O_RDONLY);
        if (in < 0)
            return fail("open", in_name);
    }

    fill_classes();
    uint64_t lines = 0, words = 0, bytes = 0;
    unsigned in_word = 0;
    for (;;) {
        ssize_t got = read(in, chunk, CHUNK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail("read", in_name);
        if (got == 0)
            break;
        bytes += (uint64_t)got;
        unsigned chunk_lines = 0, chunk_words = 0;
        for (const unsigned char *at = chunk, *end = chunk + got; at < end; at++) {
            unsigned kind = class_of[*at];
            chunk_lines += *at == '\n';
            /* A word is counted where it begins: a graphic byte while out of one. */
            unsigned next = (in_word | (kind & GRAPHIC)) & ~(kind >> 1);
            chunk_words += next & ~in_word;
            in_word = next;
        }
        lines += chunk_lines;
        words += chunk_words;
    }

    /* Three numbers of at most 20 digits, two spaces, one newline. */
    char text[3 * 20 + 3];
    char *end = text + sizeof text, *at = end;
    *--at = '\n';
    at = decimal_before(at, bytes);
    *--at = ' ';
    at = decimal_before(at, words);
    *--at = ' ';
    at = decimal_before(at, lines);

    /* The output is made only now, so that a failed read leaves none behind. */
    int out = STDOUT_FILENO;
    if (strcmp(out_name, "-") != 0) {
        out = open(out_name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (out < 0)
            return fail("create", out_name);
    }
    if (write_all(out, at, (size_t)(end - at)) != 0)
        return fail("write", out_name);
    if (out != STDOUT_FILENO && close(out) != 0)
        return fail("close", out_name);
    return 0;
}
