"""What the machine does while it trains, by the names of MLflow's page of system metrics."""

import psutil
import torch

MIB = 1 << 20


def machine_load() -> dict[str, float]:
    """Processor and memory of this machine and process, and of each GPU that this process uses.

    The processor's share is that since the last call.
    """
    process, memory = psutil.Process(), psutil.virtual_memory()
    load = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / MIB,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_megabytes": process.memory_info().rss / MIB,
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        load |= {
            "system/gpu_memory_usage_megabytes": (total - free) / MIB,
            "system/gpu_memory_usage_percentage": 100 * (total - free) / total,
            "system/gpu_memory_peak_megabytes": torch.cuda.max_memory_allocated() / MIB,
        }
    return load
