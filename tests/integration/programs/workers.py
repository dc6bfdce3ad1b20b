import asyncio

from effects import slow_effect
from stepwell import Pipeline


class Workers(Pipeline):
    """Queues, semaphores, locks, events and conditions of asyncio order themselves alike in every life."""

    async def run(self, event, step):
        path, out = event.payload, []
        queue, two_at_once, lock, over = asyncio.Queue(), asyncio.Semaphore(2), asyncio.Lock(), asyncio.Event()

        async def worker():
            while True:
                job = await queue.get()
                async with two_at_once:
                    value = await step.do(f"job {job}", slow_effect, path, f"job {job}#1", job)
                async with lock:
                    out.append(value)
                queue.task_done()
                if len(out) == 5:
                    over.set()

        workers = [asyncio.create_task(worker()) for _ in range(3)]
        for job in range(5):
            queue.put_nowait(job)
        await over.wait()
        await queue.join()
        await step.sleep("nap", 10)
        for one in workers:
            one.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return sorted(out)
