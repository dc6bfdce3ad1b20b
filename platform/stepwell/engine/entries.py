"""The words of the journal: what an entry is and which types there are.

A run's whole state is a fold over its entries, so each type says everything that the fold needs.
`key` is a step's identity, `name#n` (the n-th use of the name in the run), a loop timer's `~n`, or "" for the run.

type       key   data
created    ""    {tenant, scope, number, title, metadata, code, entry, params, replay, python, parent, order, held}
                 always seq 1; replay: version of the replay (authoring.version), python: "3.11.2"; absent in the
                 oldest: 1, ""
                 parent, only if another run made it: {run, number, key, root, depth, waits}; root: the first of all
                 those that made the next, waits: true if the step of the parent waits for its end
                 order: {group: {name, policy}, rate: {key, runs, seconds}, start_at, priority}, each only if given;
                 held: true when it may not begin before `admitted`
                 of a restarted run also `ancestry`: see ancestry.py; what it adopted follows, with the times it had;
                 and round and offset, if it was restarted from a step of a later round
admitted   ""    null                       nothing is in its way any more: its code may begin; counts in its rate
continued  ""    what the `created` before it said, with other params, and {round, offset, created_at, started_at,
                 event_ids, began_at, rounds}: a fresh journal of the same run, whose entries before this one are gone.
                 round: counts from 2; offset: keys count on from here, none comes again; event_ids: the last ids of
                 events; rounds: what is kept of earlier ones, see rounds.py.
                 Events that nobody had taken follow it, as `event`
asked      step  {kind, name, fingerprint, options, base: [layer id], due: float|null, where: "file:line", held}
                 held: its environment wants people first; due of a `run`: it may not begin before
called     step  {run, number}              the run that a call has asked for is there
released   step  {by}                       a held step (environment) may start, when it is due
started    step  {runner}                   an attempt of an executor's step begins; `attempt` column counts from 1
retry      step  {error, due, seconds, inline}  the attempt failed, the next one starts at `due`; seconds, of which old
                                            ones say nothing, and inline as in `done`
lost       step  {reason, seconds, inline}  the attempt vanished with its host: tried again, not counted; likewise
fired      step  null                       a due time passed: sleep over, wait timed out, backoff over, loop timer,
                                            a `run` may begin unless it is held
decision   step  {by, at, approve, comment, fields}
event      ""    {type, payload, id}        arrival is delivery: the isolate gives it to its first open wait or keeps it
took       step  {event: seq}               what the wait consumed
done       step  {ok, value | blob | error, seconds, layer: id|null, exit_code, inline: {kind, name, fingerprint}}
                 inline: only of `do`; blob: {id, size} of a value that is kept beside the journal
dropped    step  null                       cancelled by the code
cancel     ""    {by, reason, now, undo}    raised in the code as CancelledError at this place of the order; `now`, when
                                            it is there and true: the run ends with it, its code is told nothing;
                                            `undo`, likewise: what its passed steps did is undone afterwards
overdue    ""    null                       the code outlived the grace of a cancellation with undo: it is left, undone
undoing    ""    null                       the code is over; what its passed steps gave to undo= begins to run
paused     ""    {by, reason}               no turn and no attempt begins until `resumed`; what is under way may finish
resumed    ""    {by}
turn_failed ""   {reason, counted: bool}    three counted ones in a row without another entry fail the run; not counted:
                                            the code was not to be had, the run is kept and says why
ended      ""    {state, result | error}

An `error` is {type, message, traceback}; of a run that has diverged also {step}: the key of what does not match.
Step kinds: do, run, read, image, call, sleep, event, approval, timer, binding.
Options of a binding: {binding, call, args, kwargs}; `asked` is written before the call is made, `done` after it.
"""

from typing import Any, Literal, NamedTuple

EntryType = Literal[
    "created", "admitted", "continued", "asked", "called", "released", "started", "retry", "lost", "fired", "decision",
    "event", "took", "done", "dropped", "cancel", "overdue", "undoing", "paused", "resumed", "turn_failed", "ended",
]  # fmt: skip
StepKind = Literal["do", "run", "read", "image", "call", "sleep", "event", "approval", "timer", "binding"]
RunStatus = Literal["queued", "running", "waiting", "paused", "passed", "failed", "cancelled", "diverged"]
StepStatus = Literal["queued", "running", "retrying", "waiting", "passed", "failed", "skipped", "cancelled"]

FINISHED: frozenset[str] = frozenset({"passed", "failed", "cancelled", "diverged"})
VERSION = 1
"""Version of the entries written now; how older ones are read is in versions.py."""


class Entry(NamedTuple):
    """One line of a run's journal. `at`: seconds since the epoch; `turn`: the lease that wrote it (0: no turn).

    A tuple because a long run makes ten thousand of them when it wakes: a frozen dataclass takes four times as long.
    """

    run: str
    seq: int
    at: float
    type: EntryType
    key: str
    attempt: int
    turn: int
    data: Any
    version: int = VERSION
