/* SPDX-License-Identifier: Apache-2.0
 *
 * What a file is taken for, from its first bytes.
 */
#include "sniff.h"
#include "test.h"

void suite_sniff(void);

static ptio_sniffed sniff(const void *bytes, size_t n) {
    ptio_error err;
    ptio_source source;
    ptio_sniffed out = {PTIO_FILE_OTHER, "nothing", NULL};
    ptio_source_borrow(bytes, n, &source);
    ASSERT_OK(ptio_sniff(&source, &out, &err));
    return out;
}

#define EXPECT(literal, kind_, name_)                                  \
    do {                                                               \
        ptio_sniffed out_ = sniff((literal), sizeof(literal) - 1);     \
        ASSERT_EQUAL(out_.kind, (kind_));                              \
        ASSERT_TEXT(out_.name, (name_));                               \
    } while (0)

#define MAGIC "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

static void checkpoints(void) {
    EXPECT("PK\3\4................................", PTIO_FILE_ZIP, "a zip archive");
    EXPECT("\x80\2" MAGIC "\x80\2M\xe9\3.", PTIO_FILE_LEGACY_PICKLE, "a legacy torch file");
    EXPECT("\x80\3" MAGIC, PTIO_FILE_LEGACY_PICKLE, "a legacy torch file");
    EXPECT("\x80\4\x95\x0d\0\0\0\0\0\0\0" MAGIC, PTIO_FILE_LEGACY_PICKLE, "a legacy torch file");
    EXPECT("L119547037146038801333356L\n.\x80\2", PTIO_FILE_LEGACY_PICKLE, "a legacy torch file");
    EXPECT("\x80\2}q\0.", PTIO_FILE_BARE_PICKLE, "a pickle");
    EXPECT("(dp0\nS'a'\np1\nI1\ns.", PTIO_FILE_BARE_PICKLE, "a pickle");
    EXPECT("}q\0.", PTIO_FILE_BARE_PICKLE, "a pickle");
    EXPECT("cos\nsystem\n(S'ls'\ntR.", PTIO_FILE_BARE_PICKLE, "a pickle");
    EXPECT("\x10\0\0\0\0\0\0\0{\"a\":{}}        rest", PTIO_FILE_SAFETENSORS, "a safetensors file");
    uint8_t tar[1024] = "sys_info";
    memcpy(tar + 257, "ustar", 5);
    ASSERT_EQUAL(sniff(tar, sizeof tar).kind, PTIO_FILE_LEGACY_TAR);
    memcpy(tar, "readme.txt", 10);
    ASSERT_TEXT(sniff(tar, sizeof tar).name, "a tar archive");
}

static void what_people_download_instead(void) {
    EXPECT("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", PTIO_FILE_OTHER, "a git-lfs pointer");
    ASSERT_CONTAINS(sniff("version https://git-lfs.github.com/spec/v1", 42).hint, "git lfs pull");
    EXPECT("<!DOCTYPE html><html>", PTIO_FILE_OTHER, "an HTML page");
    EXPECT("\xef\xbb\xbf \n<HTML>", PTIO_FILE_OTHER, "an HTML page");
    EXPECT("<?xml version='1.0'?><Error>", PTIO_FILE_OTHER, "an XML document");
    EXPECT("{\"error\": \"not found\"}", PTIO_FILE_OTHER, "a JSON document");
    EXPECT("Not Found.", PTIO_FILE_OTHER, "a text file");
    EXPECT("could not find it.", PTIO_FILE_OTHER, "a text file");
    EXPECT("", PTIO_FILE_OTHER, "an empty file");
    EXPECT("\0\0\0\0\0\0\0\0\0\0\0\0", PTIO_FILE_OTHER, "a file of zeros");
    EXPECT("\1\2\3\4\5\6", PTIO_FILE_OTHER, "a file of no known kind");
    EXPECT("\x01", PTIO_FILE_OTHER, "a file of no known kind");
}

static void other_formats(void) {
    EXPECT("\x1f\x8b\x08....", PTIO_FILE_OTHER, "a gzip file");
    EXPECT("7z\xbc\xaf\x27\x1c..", PTIO_FILE_OTHER, "a 7z archive");
    EXPECT("\x89PNG\r\n\x1a\n", PTIO_FILE_OTHER, "a PNG image");
    EXPECT("\x89HDF\r\n\x1a\n", PTIO_FILE_OTHER, "an HDF5 file");
    EXPECT("\x93NUMPY\1\0", PTIO_FILE_OTHER, "a NumPy .npy file");
    EXPECT("GGUF\3\0\0\0", PTIO_FILE_OTHER, "a GGUF model");
    EXPECT("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", PTIO_FILE_OTHER, "an empty zip archive");
    EXPECT("\x7f" "ELF\2\1", PTIO_FILE_OTHER, "an ELF program or library");
}

static void a_zip_behind_other_bytes_is_left_to_the_index(void) {
    EXPECT("#!/bin/sh\n....PK\5\6\0\0\0\0\1\0\1\0\0\0\0\0\0\0\0\0\0\0", PTIO_FILE_ZIP, "a zip archive behind other bytes");
}

static ptio_status refuse(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    (void)context, (void)out, (void)n;
    return ptio_fail(err, PTIO_E_IO, "T0.test", offset, "cannot");
}

static void read_errors_are_handed_on(void) {
    ptio_error err;
    ptio_source source;
    ptio_sniffed out;
    ptio_source_callback(refuse, NULL, 100, &source);
    ASSERT_FAILS(ptio_sniff(&source, &out, &err), IO, "T0.test", "cannot", 0);
}

void suite_sniff(void) {
    RUN(checkpoints);
    RUN(what_people_download_instead);
    RUN(other_formats);
    RUN(a_zip_behind_other_bytes_is_left_to_the_index);
    RUN(read_errors_are_handed_on);
}
