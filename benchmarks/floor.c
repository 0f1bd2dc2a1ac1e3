/* SPDX-License-Identifier: Apache-2.0
 *
 * The least that any implementation pays, for the benchmarks to compare with.
 * Compiled by floor.py into a temporary folder; no part of the package.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_1_23_API_VERSION
#include <numpy/arrayobject.h>

#include <fcntl.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dlpack_abi.h"

/* arrays(keys, buffer): a dict of float32 arrays of 32 elements over a buffer,
 * one PyArray_NewFromDescr and one PyDict_SetItem for each key. */
static PyObject *arrays(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *keys, *buffer;
    if (!PyArg_ParseTuple(args, "O!O", &PyList_Type, &keys, &buffer)) return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *result = PyDict_New();
    npy_intp shape = 32, stride = 4;
    char *bytes = view.buf;
    for (Py_ssize_t i = 0; result && i < PyList_GET_SIZE(keys); i++) {
        PyArray_Descr *descr = PyArray_DescrFromType(NPY_FLOAT32);
        PyObject *array = PyArray_NewFromDescr(&PyArray_Type, descr, 1, &shape, &stride,
                                               bytes + i * 128, NPY_ARRAY_CARRAY, NULL);
        if (!array || PyDict_SetItem(result, PyList_GET_ITEM(keys, i), array) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(array);
    }
    PyBuffer_Release(&view);
    return result;
}

/* What owns a tensor's description; its memory belongs to the caller. */
typedef struct {
    dlpack_managed_versioned managed;
    int64_t shape, stride;
} loan;

static void end_loan(dlpack_managed_versioned *managed) { free(managed); }

/* tensors(keys, buffer, table): a dict of float32 torch tensors of 32 elements over a
 * buffer, one call of DLPack's C exchange and one PyDict_SetItem for each key. */
static PyObject *tensors(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *keys, *capsule;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "O!y*O", &PyList_Type, &keys, &view, &capsule)) return NULL;
    const dlpack_exchange_api *api = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    PyObject *result = api ? PyDict_New() : NULL;
    char *bytes = (char *)view.buf + (64 - (uintptr_t)view.buf % 64);
    for (Py_ssize_t i = 0; result && i < PyList_GET_SIZE(keys); i++) {
        loan *l = malloc(sizeof *l);
        if (!l) abort();
        *l = (loan){{.version = {DLPACK_MAJOR, DLPACK_MINOR}, .deleter = end_loan}, 32, 1};
        l->managed.tensor = (dlpack_tensor){.data = bytes + i * 128, .device_type = DLPACK_CPU,
                                            .ndim = 1, .dtype = {DLPACK_FLOAT, 32, 1},
                                            .shape = &l->shape, .strides = &l->stride};
        void *tensor = NULL;
        if (api->import_tensor(&l->managed, &tensor) < 0 ||
            PyDict_SetItem(result, PyList_GET_ITEM(keys, i), tensor) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF((PyObject *)tensor);
    }
    PyBuffer_Release(&view);
    return result;
}

enum { CHUNK = 1 << 17, MAX_THREADS = 64 };

typedef struct {
    int fd, with_crc, same_buffer;
    uint8_t *memory;
    uint64_t begin, end, sum;
} part;

static void *read_part(void *argument) {
    part *p = argument;
    uint32_t crc = 0;
    for (uint64_t at = p->begin; at < p->end;) {
        size_t n = p->end - at < CHUNK ? (size_t)(p->end - at) : CHUNK;
        uint8_t *out = p->memory + (p->same_buffer ? p->begin : at);
        ssize_t got = pread(p->fd, out, n, (off_t)at);
        if (got <= 0) break;
        if (p->with_crc) crc = libdeflate_crc32(crc, out, (size_t)got);
        at += (uint64_t)got;
    }
    p->sum = crc;
    return NULL;
}

static void *sum_part(void *argument) {
    part *p = argument;
    uint64_t sums[8] = {0};
    const uint64_t *word = (const uint64_t *)(p->memory + p->begin);
    const uint64_t *end = (const uint64_t *)(p->memory + (p->end & ~UINT64_C(63)));
    for (; word + 8 <= end; word += 8) {
        for (int i = 0; i < 8; i++) sums[i] += word[i];
    }
    for (int i = 0; i < 8; i++) p->sum += sums[i];
    return NULL;
}

static void on_threads(part *parts, int threads, void *(*work)(void *)) {
    pthread_t ids[MAX_THREADS];
    for (int i = 1; i < threads; i++) pthread_create(&ids[i], NULL, work, &parts[i]);
    work(&parts[0]);
    for (int i = 1; i < threads; i++) pthread_join(ids[i], NULL);
}

static void release(PyObject *capsule) {
    void *memory = PyCapsule_GetPointer(capsule, "memory");
    munmap(memory, (size_t)(uintptr_t)PyCapsule_GetContext(capsule));
}

enum { COPY, SCAN, SUM };

/* read_file(path, threads, mode, crc): with all threads,
 *   COPY  pread into fresh memory (huge pages where the system gives them),
 *   SCAN  pread into one small buffer for each thread,
 *   SUM   map the file and add up its words,
 * crc: with a CRC32 of each chunk while it is in cache. What it returns owns the
 * memory, so that giving it back is not measured. */
static PyObject *read_file(PyObject *module, PyObject *args) {
    (void)module;
    const char *path;
    int threads, mode, crc;
    if (!PyArg_ParseTuple(args, "siip", &path, &threads, &mode, &crc)) return NULL;
    if (threads < 1 || threads > MAX_THREADS) {
        PyErr_SetString(PyExc_ValueError, "threads");
        return NULL;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    uint64_t size = (uint64_t)st.st_size, step = (size / (uint64_t)threads + 63) & ~UINT64_C(63);
    part parts[MAX_THREADS];
    uint8_t *memory;
    Py_BEGIN_ALLOW_THREADS;
    int flags = mode == SUM ? MAP_PRIVATE : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    int protection = mode == SUM ? PROT_READ : PROT_READ | PROT_WRITE;
    memory = mmap(NULL, size, protection, flags, mode == SUM ? fd : -1, 0);
    if (mode == COPY) madvise(memory, size, MADV_HUGEPAGE);
    for (int i = 0; i < threads; i++) {
        uint64_t begin = step * (uint64_t)i < size ? step * (uint64_t)i : size;
        uint64_t end = begin + step < size ? begin + step : size;
        parts[i] = (part){fd, crc, mode == SCAN, memory, begin, end, 0};
    }
    on_threads(parts, threads, mode == SUM ? sum_part : read_part);
    close(fd);
    Py_END_ALLOW_THREADS;
    PyObject *capsule = PyCapsule_New(memory, "memory", release);
    if (capsule) PyCapsule_SetContext(capsule, (void *)(uintptr_t)size);
    return capsule;
}

enum { PIECE = 1 << 19 };

/* write_chunk(fd, buffer, offset) -> CRC32: pwrite of each piece while it is in the cache. */
static PyObject *write_chunk(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer view;
    int fd;
    unsigned long long offset;
    if (!PyArg_ParseTuple(args, "iy*K", &fd, &view, &offset)) return NULL;
    size_t size = (size_t)view.len;
    uint32_t crc = 0;
    ssize_t wrote = 0;
    Py_BEGIN_ALLOW_THREADS;
    for (size_t at = 0; at < size && wrote >= 0; at += (size_t)wrote) {
        size_t n = size - at < PIECE ? size - at : PIECE;
        crc = libdeflate_crc32(crc, (char *)view.buf + at, n);
        wrote = pwrite(fd, (char *)view.buf + at, n, (off_t)(offset + at));
        if (wrote != (ssize_t)n) wrote = -1;
    }
    Py_END_ALLOW_THREADS;
    PyBuffer_Release(&view);
    return wrote < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromUnsignedLong(crc);
}

static PyMethodDef methods[] = {
    {"arrays", arrays, METH_VARARGS, NULL},
    {"tensors", tensors, METH_VARARGS, NULL},
    {"read_file", read_file, METH_VARARGS, NULL},
    {"write_chunk", write_chunk, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1,
                                        .m_methods = methods};

PyMODINIT_FUNC PyInit_floor(void) {
    import_array();
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    PyModule_AddIntConstant(module, "COPY", COPY);
    PyModule_AddIntConstant(module, "SCAN", SCAN);
    PyModule_AddIntConstant(module, "SUM", SUM);
    return module;
}
