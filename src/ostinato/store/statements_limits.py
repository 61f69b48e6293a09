"""The SQL of limits: gates, shares and passages. See `ostinato.store.statements` for how it is written."""


# ruff: noqa: S608  what is put into these texts are names of our own columns and states, never a value

from __future__ import annotations

from typing import Final

from ostinato.limits import OVERLAP
from ostinato.states import LIVE, TERMINAL, State
from ostinato.store.rows import TABLES, columns
from ostinato.store.statements import quoted

_GATE: Final = ", ".join(columns(TABLES["gate"]))
_PASSAGE: Final = ", ".join(columns(TABLES["passage"]))
_LIMIT: Final = ", ".join(columns(TABLES["concurrency_limit"]))
_LIVE: Final = quoted(LIVE)
_OVER: Final = quoted(TERMINAL)


def _put(table: str, keys: str) -> str:
    names = columns(TABLES[table])
    sets = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys.split(", "))
    marks = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT ({keys}) DO UPDATE SET {sets}"


LOCK_GATES: Final = "SELECT 'whoever counts slots is alone, after it has locked the runs that it needs'"

# --- how slots are taken and returned

RUN_OF_EPOCH: Final = f"""
    SELECT epoch FROM run WHERE id = :id AND worker_id IS NOT NULL AND state IN ({_LIVE}) FOR NO KEY UPDATE"""
GATES: Final = f"SELECT {_GATE} FROM gate WHERE id = ANY(:ids)"
LIMITS_NAMED: Final = f"SELECT {_LIMIT} FROM concurrency_limit WHERE name = ANY(:names)"
GATES_OF_LIMIT: Final = f"SELECT {_GATE} FROM gate WHERE limit_name = :name OR id = :name ORDER BY id"
PUT_GATE: Final = _put("gate", "id")
PASSAGES_OF: Final = f"SELECT {_PASSAGE} FROM passage WHERE run_id = :run_id AND seq >= :least"
PASSAGES_OF_SEQS: Final = f"SELECT {_PASSAGE} FROM passage WHERE run_id = :run_id AND seq = ANY(:seqs)"
GATES_OF_RUN: Final = f"SELECT {_GATE} FROM gate WHERE id IN (SELECT gate FROM passage WHERE run_id = :run_id)"
PUT_PASSAGE: Final = _put("passage", "gate, run_id, seq")
REMOVE_PASSAGE: Final = "DELETE FROM passage WHERE gate = :gate AND run_id = :run_id AND seq = :seq"
LET_IN: Final = """
    UPDATE passage SET held = TRUE, granted_at = :now, rest = NULL
    WHERE gate = :gate AND run_id = :run_id AND seq = :seq"""
NEXT: Final = """
    SELECT passage.run_id, passage.seq, passage.share, passage.since, passage.epoch, passage.rest,
        share.clock, share.weight
    FROM passage JOIN share ON share.gate = passage.gate AND share.name = passage.share
    WHERE passage.gate = :gate AND NOT passage.held AND passage.share = (
        SELECT name FROM share WHERE gate = :gate AND waiting > 0 ORDER BY gate, clock, name LIMIT 1)
    ORDER BY passage.gate, passage.share, passage.rank, passage.run_id, passage.seq LIMIT 1"""
JOIN_SHARE: Final = """
    INSERT INTO share (gate, name, waiting, clock, weight) VALUES (:gate, :name, 1, :clock, :weight)
    ON CONFLICT (gate, name) DO UPDATE SET waiting = share.waiting + 1, weight = excluded.weight,
        clock = CASE WHEN share.waiting > 0 OR share.clock > excluded.clock THEN share.clock ELSE excluded.clock END"""
"""Somebody more waits; a share that nobody waited in begins where the gate is."""
TURN_OF_SHARE: Final = """
    INSERT INTO share (gate, name, waiting, clock, weight) VALUES (:gate, :name, 0, :clock + :step, :weight)
    ON CONFLICT (gate, name) DO UPDATE SET weight = excluded.weight,
        clock = CASE WHEN share.clock > :clock THEN share.clock ELSE :clock END + :step
    RETURNING clock"""
"""Somebody is let in who did not have to wait."""
ADVANCE_SHARE: Final = """
    UPDATE share SET waiting = waiting - 1, clock = :clock WHERE gate = :gate AND name = :name"""
LEAVE_SHARE: Final = "UPDATE share SET waiting = waiting - 1 WHERE gate = :gate AND name = :name"
WEIGH_SHARE: Final = "UPDATE share SET weight = :weight WHERE gate = :gate AND name = :name"
QUEUED_OF: Final = "SELECT id FROM run WHERE id = ANY(:ids) AND state = 'queued' AND pool IS NOT NULL ORDER BY id"
SUSPENDED_OF: Final = "SELECT DISTINCT run_id FROM wait WHERE key = ANY(:ids) AND kind = 'slot' ORDER BY run_id"
HOLDERS: Final = """
    SELECT run_id FROM passage WHERE gate = :gate AND held AND run_id <> :run_id
    ORDER BY granted_at, run_id LIMIT :limit"""
OLDER: Final = """
    SELECT other.run_id FROM passage JOIN passage AS other ON other.gate = passage.gate
    WHERE passage.gate = :gate AND passage.run_id = :run_id AND passage.seq = -1 AND other.seq = -1
        AND (other.held OR (other.since, other.run_id) < (passage.since, passage.run_id))
        AND EXISTS (SELECT 1 FROM run WHERE run.id = other.run_id AND run.cancel_requested_at IS NULL)
    ORDER BY other.since, other.run_id"""
"""Who came before a run to a gate, and has not been asked to stop."""
# --- looking

THROUGH: Final = """
    SELECT seq FROM passage WHERE run_id = :run_id GROUP BY seq
    HAVING min(CASE WHEN held THEN 1 ELSE 0 END) = 1 ORDER BY seq"""
WAKES_AT: Final = """
    SELECT min(gate.next_at) FROM passage JOIN gate ON gate.id = passage.gate
    WHERE passage.run_id = :run_id AND NOT passage.held AND gate.next_at IS NOT NULL"""
EPOCH: Final = f"SELECT epoch FROM run WHERE id = :id AND worker_id IS NOT NULL AND state IN ({_LIVE})"
LIST_GATES: Final = f"SELECT {_GATE} FROM gate"
LIST_PASSAGES: Final = f"""
    SELECT {_PASSAGE} FROM (
        SELECT passage.*, share.clock + (row_number() OVER (
            PARTITION BY passage.gate, passage.held, passage.share ORDER BY passage.rank, passage.run_id, passage.seq
        ) - 1) / share.weight AS turn
        FROM passage LEFT JOIN share ON share.gate = passage.gate AND share.name = passage.share"""
IN_LINE: Final = """) AS line
    ORDER BY gate, held DESC, CASE WHEN held THEN granted_at ELSE 0 END, turn, share, rank, run_id, seq LIMIT :limit"""
"""When each waiter's turn comes, if nobody else comes."""
PUT_LIMIT: Final = _put("concurrency_limit", "name")
REMOVE_LIMIT: Final = "DELETE FROM concurrency_limit WHERE name = :name"
LIST_LIMITS: Final = f"SELECT {_LIMIT} FROM concurrency_limit ORDER BY name"

# --- upkeep

GATES_DUE: Final = f"SELECT {_GATE} FROM gate WHERE next_at IS NOT NULL AND next_at <= :now ORDER BY id LIMIT :limit"
LEFT_BEHIND: Final = f"""
    SELECT DISTINCT passage.run_id FROM passage LEFT JOIN run ON run.id = passage.run_id
    WHERE run.id IS NULL OR run.state IN ({_OVER}) LIMIT :limit"""
"""Runs that have ended, or are gone, and have not returned all that they held."""
OF_ENDED: Final = f"SELECT state FROM run WHERE id = :id AND state NOT IN ({_OVER})"
"""Not locked: what has ended may begin again, but then it waits for the lock of the gates."""
ANY_GATE: Final = "SELECT 1 FROM gate WHERE held = 0 AND waiting = 0 LIMIT 1"
CANCELS: Final = '"cancel_running"'
"""What stands in `Run.gates` where its overlap cancels others."""
TO_CANCEL: Final = f"""
    SELECT passage.gate, passage.run_id FROM passage JOIN run ON run.id = passage.run_id
    WHERE passage.gate >= '{OVERLAP}' AND passage.gate < '{OVERLAP[:-1]};' AND NOT passage.held AND passage.seq = -1
        AND strpos(run.gates, '{CANCELS}') > 0 LIMIT :limit"""
"""Runs that wait until those before them are cancelled."""
REMOVE_SHARES: Final = """
    DELETE FROM share WHERE waiting <= 0 AND NOT EXISTS (
        SELECT 1 FROM gate WHERE gate.id = share.gate AND gate.clock < share.clock AND gate.held + gate.waiting > 0)"""
REMOVE_GATES: Final = "DELETE FROM gate WHERE held = 0 AND waiting = 0 AND full_at <= :now"
MARK_OVERLAP: Final = f"""
    UPDATE run SET state = :state, reason = 'overlap', finished_at = :now
    WHERE id = :id AND state IN ('{State.QUEUED}', '{State.SCHEDULED}')"""
