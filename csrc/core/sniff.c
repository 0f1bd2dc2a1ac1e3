/* SPDX-License-Identifier: Apache-2.0
 *
 * Recognises checkpoints, and what people download instead of them, from the
 * first bytes of a file. Reads two small ranges; proves nothing.
 */
#include "sniff.h"

#include <strings.h>

enum { HEAD = 2048, TAIL = 22 };

typedef struct {
    uint8_t head[HEAD];
    size_t n; /* bytes of head */
    uint8_t tail[TAIL];
    uint64_t size;
} sniffer;

typedef struct {
    size_t at;
    const char *bytes;
    size_t length;
    const char *name, *hint;
} signature;

#define LITERAL(text) text, sizeof(text) - 1
#define UNPACK "unpack it first"
#define OTHER_LIBRARY "load it with the library that wrote it"
#define DOWNLOAD "this is what the server sent in place of the file: check the address and your access to it"

/* In the order in which they are tried. */
static const signature signatures[] = {
    {0, LITERAL("version https://git-lfs.github.com/"), "a git-lfs pointer",
     "fetch the file itself with 'git lfs pull'"},
    {0, LITERAL("PK\5\6"), "an empty zip archive", NULL},
    {0, LITERAL("PK\7\10"), "one part of a split zip archive", "join the parts first"},
    {0, LITERAL("\x1f\x8b"), "a gzip file", UNPACK},
    {0, LITERAL("7z\xbc\xaf\x27\x1c"), "a 7z archive", UNPACK},
    {0,
     LITERAL("\xfd"
             "7zXZ\0"),
     "an xz file", UNPACK},
    {0, LITERAL("BZh"), "a bzip2 file", UNPACK},
    {0, LITERAL("\x28\xb5\x2f\xfd"), "a zstd file", UNPACK},
    {0, LITERAL("\x04\x22\x4d\x18"), "an lz4 file", UNPACK},
    {0, LITERAL("Rar!\x1a\x07"), "a rar archive", UNPACK},
    {257, LITERAL("ustar"), "a tar archive", UNPACK},
    {0, LITERAL("\x89PNG\r\n"), "a PNG image", NULL},
    {0, LITERAL("\xff\xd8\xff"), "a JPEG image", NULL},
    {0, LITERAL("GIF8"), "a GIF image", NULL},
    {0, LITERAL("%PDF-"), "a PDF document", NULL},
    {0, LITERAL("\x89HDF\r\n"), "an HDF5 file", "load it with h5py or Keras"},
    {0, LITERAL("\x93NUMPY"), "a NumPy .npy file", "load it with numpy.load"},
    {0, LITERAL("GGUF"), "a GGUF model", OTHER_LIBRARY},
    {0, LITERAL("tjgg"), "a GGML model", OTHER_LIBRARY},
    {4, LITERAL("TFL3"), "a TensorFlow Lite model", OTHER_LIBRARY},
    {0,
     LITERAL("\x7f"
             "ELF"),
     "an ELF program or library", NULL},
    {0, LITERAL("SQLite format 3"), "an SQLite database", NULL},
    {0, LITERAL("PAR1"), "a Parquet file", OTHER_LIBRARY},
    {0, LITERAL("ARROW1"), "an Arrow file", OTHER_LIBRARY},
};

static bool begins_with(const sniffer *s, size_t at, const char *bytes, size_t length) {
    return at <= s->n && length <= s->n - at && memcmp(s->head + at, bytes, length) == 0;
}

/* torch's magic number 0x1950a86a20f9469cfc6c as a pickle of its own, in each of the
 * ways in which a protocol writes it. */
static bool is_legacy_pickle(const sniffer *s) {
    static const char text[] = "L119547037146038801333356L\n.";
    static const char long1[] = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    if (begins_with(s, 0, LITERAL(text))) return true;
    if (s->n < 2 || s->head[0] != 0x80 || s->head[1] < 2 || s->head[1] > 5) return false;
    size_t at = s->n > 2 && s->head[2] == 0x95 ? 11 : 2; /* behind a FRAME */
    return begins_with(s, at, LITERAL(long1));
}

/* The tar archives of torch 0.1 hold these members, in this order; the header of the first may
 * stand behind an extended one, which Python 3 writes for its time. */
static bool is_legacy_tar(const sniffer *s) {
    static const char *const names[] = {"sys_info", "./sys_info", "storages", "tensors", "pickle"};
    size_t at = s->n > 512 && memcmp(s->head + 257, "ustar", 5) == 0 && s->head[156] == 'x' ? 1024 : 0;
    if (s->n < at + 512) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (memcmp(s->head + at, names[i], strlen(names[i]) + 1) == 0) return true;
    return false;
}

static bool is_safetensors(const sniffer *s) {
    if (s->n < 10 || s->head[8] != '{') return false;
    uint64_t header = ptio_le64(s->head);
    return header >= 2 && header <= (UINT64_C(1) << 30) && header <= s->size - 8;
}

/* Binary protocols begin with PROTO, the old ones with an opcode that opens a container
 * or names a global. Text also begins with those letters, so look for a second sign. */
static bool is_bare_pickle(const sniffer *s) {
    if (s->n < 2) return false;
    uint8_t first = s->head[0], second = s->head[1];
    if (first == 0x80) return second <= 5;
    if (s->tail[TAIL - 1] != '.') return false;
    if (first == '}' || first == ']' || first == ')') return second == 'q' || second == '.' || second == '(';
    if (first == '(')
        return second == 'd' || second == 'l' || second == 'i' || second == 'c' || second == 'K';
    if (first != 'c') return false;
    const uint8_t *line = memchr(s->head, '\n', s->n);
    return line != NULL && memchr(line + 1, '\n', s->n - (size_t)(line + 1 - s->head)) != NULL;
}

static bool all_zero(const sniffer *s) {
    for (size_t i = 0; i < s->n; i++)
        if (s->head[i] != 0) return false;
    return true;
}

static bool is_text(const sniffer *s) {
    for (size_t i = 0; i < s->n; i++)
        if (s->head[i] < 0x20 && memchr("\t\n\r\f", s->head[i], 4) == NULL) return false;
    return true;
}

/* Bytes before the archive: torch sees no zip here, a zip tool does. zip_index.c says so. */
static bool ends_as_zip(const sniffer *s) {
    return s->size >= TAIL && memcmp(s->tail, "PK\5\6\0\0\0\0", 8) == 0 && ptio_le16(s->tail + 20) == 0 &&
           ptio_le16(s->tail + 8) != 0;
}

static ptio_sniffed text_kind(const sniffer *s) {
    static const signature markup[] = {
        {0, LITERAL("<!doctype html"), "an HTML page", DOWNLOAD},
        {0, LITERAL("<html"), "an HTML page", DOWNLOAD},
        {0, LITERAL("<head"), "an HTML page", DOWNLOAD},
        {0, LITERAL("<?xml"), "an XML document", DOWNLOAD},
        {0, LITERAL("<error"), "an XML document", DOWNLOAD},
        {0, LITERAL("{"), "a JSON document", NULL},
        {0, LITERAL("["), "a JSON document", NULL},
    };
    size_t at = begins_with(s, 0, LITERAL("\xef\xbb\xbf")) ? 3 : 0;
    while (at < s->n && memchr(" \t\r\n", s->head[at], 4) != NULL) at++;
    for (size_t i = 0; i < sizeof markup / sizeof *markup; i++)
        if (markup[i].length <= s->n - at &&
            strncasecmp((const char *)s->head + at, markup[i].bytes, markup[i].length) == 0)
            return (ptio_sniffed){PTIO_FILE_OTHER, markup[i].name, markup[i].hint};
    return (ptio_sniffed){PTIO_FILE_OTHER, "a text file", NULL};
}

static ptio_sniffed recognise(const sniffer *s) {
    if (s->size == 0)
        return (ptio_sniffed){PTIO_FILE_OTHER, "an empty file",
                              "nothing was written to it: copy or download it again"};
    if (begins_with(s, 0, LITERAL("PK\3\4"))) return (ptio_sniffed){PTIO_FILE_ZIP, "a zip archive", NULL};
    if (is_legacy_pickle(s)) return (ptio_sniffed){PTIO_FILE_LEGACY_PICKLE, "a legacy torch file", NULL};
    if (is_legacy_tar(s)) return (ptio_sniffed){PTIO_FILE_LEGACY_TAR, "a torch 0.1 tar file", NULL};
    if (is_safetensors(s))
        return (ptio_sniffed){PTIO_FILE_SAFETENSORS, "a safetensors file",
                              "load it with safetensors, or rename it to .safetensors"};
    if (is_bare_pickle(s)) return (ptio_sniffed){PTIO_FILE_BARE_PICKLE, "a pickle", NULL};
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++)
        if (begins_with(s, signatures[i].at, signatures[i].bytes, signatures[i].length))
            return (ptio_sniffed){PTIO_FILE_OTHER, signatures[i].name, signatures[i].hint};
    if (ends_as_zip(s)) return (ptio_sniffed){PTIO_FILE_ZIP, "a zip archive behind other bytes", NULL};
    if (all_zero(s))
        return (ptio_sniffed){PTIO_FILE_OTHER, "a file of zeros",
                              "its space was reserved but never written: copy or download it again"};
    if (is_text(s)) return text_kind(s);
    return (ptio_sniffed){PTIO_FILE_OTHER, "a file of no known kind", NULL};
}

ptio_status ptio_sniff(const ptio_source *source, ptio_sniffed *out, ptio_error *err) {
    sniffer s = {.size = source->size};
    s.n = (size_t)ptio_min_u64(source->size, HEAD);
    PTIO_TRY(ptio_source_read(source, 0, s.head, s.n, err));
    size_t tail = (size_t)ptio_min_u64(source->size, TAIL);
    PTIO_TRY(ptio_source_read(source, source->size - tail, s.tail + (TAIL - tail), tail, err));
    *out = recognise(&s);
    return PTIO_OK;
}
