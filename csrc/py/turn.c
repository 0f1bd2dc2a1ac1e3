/* SPDX-License-Identifier: Apache-2.0
 *
 * One thread at a time, where Python code may run in between.
 */
#include "module.h"

int ptio_turn_init(ptio_turn *turn) {
    turn->holder = 0;
    turn->lock = PyThread_allocate_lock();
    if (turn->lock != NULL) return 0;
    PyErr_NoMemory();
    return -1;
}

void ptio_turn_clear(ptio_turn *turn) {
    if (turn->lock != NULL) PyThread_free_lock(turn->lock);
    turn->lock = NULL;
}

/* Whoever holds it may be waiting for the GIL. */
int ptio_turn_take(ptio_turn *turn) {
    unsigned long self = PyThread_get_thread_ident();
    if (turn->holder == self) {
        PyErr_SetString(PyExc_RuntimeError, "this thread is reading the checkpoint already: "
                                            "a callback of that cannot use it");
        return -1;
    }
    if (PyThread_acquire_lock(turn->lock, NOWAIT_LOCK) == 0) {
        Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(turn->lock, WAIT_LOCK);
        Py_END_ALLOW_THREADS
    }
    turn->holder = self;
    return 0;
}

void ptio_turn_give(ptio_turn *turn) {
    turn->holder = 0;
    PyThread_release_lock(turn->lock);
}
