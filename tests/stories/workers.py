# SPDX-License-Identifier: Apache-2.0
"""Loads in threads, in the workers of a DataLoader, and tensors that go between processes."""

import io
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

FILES = 12


class Samples(Dataset):
    """One file for each sample, loaded by the worker that needs it."""

    def __len__(self):
        return FILES

    def __getitem__(self, index):
        sample = torch.load(f"sample{index}.pt", mmap=index % 2 == 0)
        return sample["image"] * 2, sample["label"]


class Shared(Dataset):
    """Loaded once, before the workers start."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def send(queue, received):
    queue.put(torch.load("sample3.pt"))
    received.wait(60)


def main():
    for i in range(FILES):
        sample = {"image": torch.full((2, 3), float(i)), "label": i}
        torch.save(sample, f"sample{i}.pt")
    torch.save(torch.arange(8.0).view(4, 2), "images.pt")

    print("--- workers that load")
    for method, count in (("fork", 2), ("spawn", 1)):
        loader = DataLoader(Samples(), 4, num_workers=count, multiprocessing_context=method)
        for images, labels in loader:
            print(method, images.sum((1, 2)).tolist(), labels.tolist())

    print("--- workers that got what was loaded")
    for mmap in (False, True):
        loader = DataLoader(
            Shared(torch.load("images.pt", mmap=mmap)),
            2,
            num_workers=1,
            multiprocessing_context="fork",
        )
        print([batch.tolist() for batch in loader])

    print("--- between processes")
    context = multiprocessing.get_context("fork")
    queue = torch.multiprocessing.get_context("fork").Queue()
    received = context.Event()
    process = context.Process(target=send, args=(queue, received))
    process.start()
    print(queue.get())
    received.set()
    process.join()
    print(process.exitcode)
    shared = torch.load("images.pt").share_memory_()
    process = context.Process(target=shared.zero_)
    process.start()
    process.join()
    print(shared.is_shared(), shared.sum().item())

    print("--- threads")

    def total(index):
        return torch.load(f"sample{index % FILES}.pt")["image"].sum().item()

    with ThreadPoolExecutor(4) as pool:
        print(list(pool.map(total, range(3 * FILES))))
    data = io.BytesIO()
    torch.save([torch.arange(1000) for _ in range(50)], data)
    sums = []

    def load():
        tensors = torch.load(io.BytesIO(data.getvalue()), weights_only=False)
        sums.append(sum(tensor.sum().item() for tensor in tensors))

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sums)


if __name__ == "__main__":
    main()
