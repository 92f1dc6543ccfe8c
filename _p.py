from time import perf_counter
from tests.bench.fleet import *
from tests.bench.dispatch import Counted, called
from reconciler.runtime.crew import Worker
N=100_000
with fleet() as f:
    f.load(rows(N), Counted)
    crew=f.host._crew
    crew.dismiss(4)
    import threading; threading.Event().wait(0.5)
    w=Worker(); w.thread=threading.get_ident()
    for r in range(3):
        called.start(N)
        t=perf_counter(); f.host.beat(r); t1=perf_counter()
        q=crew._queue
        work=crew._work
        for _ in range(N):
            s=q.get(); crew._survived(w,s); s.claim.release()
            if (s.beat is not None or s.ending or s.wanted is not None): crew.offer(s)
        t2=perf_counter()
        print("beat",(t1-t)/N*1e6,"work",(t2-t1)/N*1e6)
    import cProfile
    crew.hire(4)
