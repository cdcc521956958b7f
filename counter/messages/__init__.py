"""Every message of this package: `datagrams` and `cells` between nodes, the rest for clients.

The rule: a message says what it means in its docstring, and its schema refuses what it does not
mean. How bytes travel is one package below, in `tracker`.
"""

from typing import Final

from counter.messages.cells import BATCH_ROOM_BYTES as BATCH_ROOM_BYTES
from counter.messages.cells import COLLECTS as COLLECTS
from counter.messages.cells import DONE as DONE
from counter.messages.cells import DOUBT as DOUBT
from counter.messages.cells import HELD as HELD
from counter.messages.cells import NAMED_MAX as NAMED_MAX
from counter.messages.cells import OUTDONE as OUTDONE
from counter.messages.cells import POSITION_BYTES as POSITION_BYTES
from counter.messages.cells import REFUSED as REFUSED
from counter.messages.cells import ROLLS_MAX as ROLLS_MAX
from counter.messages.cells import ROWS_MAX as ROWS_MAX
from counter.messages.cells import SEQUENCE_MAX as SEQUENCE_MAX
from counter.messages.cells import STEM as STEM
from counter.messages.cells import Ack as Ack
from counter.messages.cells import Back as Back
from counter.messages.cells import Batch as Batch
from counter.messages.cells import Delegate as Delegate
from counter.messages.cells import Row as Row
from counter.messages.cells import packed_positions as packed_positions
from counter.messages.cells import packed_rows as packed_rows
from counter.messages.cells import place_of as place_of
from counter.messages.cells import positions_in as positions_in
from counter.messages.cells import row_bytes as row_bytes
from counter.messages.cells import stem_row as stem_row
from counter.messages.cells import stem_rows as stem_rows
from counter.messages.cells import steps_bytes as steps_bytes
from counter.messages.cells import told_stem as told_stem
from counter.messages.datagrams import DECREASED as DECREASED
from counter.messages.datagrams import FADED_ROW_BYTES as FADED_ROW_BYTES
from counter.messages.datagrams import FADED_ROWS_MAX as FADED_ROWS_MAX
from counter.messages.datagrams import HELD_ROW_BYTES as HELD_ROW_BYTES
from counter.messages.datagrams import LATE_MAX as LATE_MAX
from counter.messages.datagrams import LEAF as LEAF
from counter.messages.datagrams import NOWHERE as NOWHERE
from counter.messages.datagrams import OTHERS_MAX as OTHERS_MAX
from counter.messages.datagrams import RING as RING
from counter.messages.datagrams import SKIP_MAX as SKIP_MAX
from counter.messages.datagrams import STEMS_ROOM_BYTES as STEMS_ROOM_BYTES
from counter.messages.datagrams import TRACE as TRACE
from counter.messages.datagrams import UNHELD as UNHELD
from counter.messages.datagrams import Amounts as Amounts
from counter.messages.datagrams import Ask as Ask
from counter.messages.datagrams import AskAgain as AskAgain
from counter.messages.datagrams import FadedRow as FadedRow
from counter.messages.datagrams import Reply as Reply
from counter.messages.datagrams import ShortReply as ShortReply
from counter.messages.datagrams import Stop as Stop
from counter.messages.datagrams import Traced as Traced
from counter.messages.datagrams import Uncertain as Uncertain
from counter.messages.datagrams import ends_of as ends_of
from counter.messages.datagrams import swapped as swapped
from counter.messages.door import ACK_DEFAULT as ACK_DEFAULT
from counter.messages.door import ACK_DISK as ACK_DISK
from counter.messages.door import ACK_MEMORY as ACK_MEMORY
from counter.messages.door import DOOR as DOOR
from counter.messages.door import PAIRS_MAX as PAIRS_MAX
from counter.messages.door import ROWS_PER_PAGE as ROWS_PER_PAGE
from counter.messages.door import TOP_ROWS_MAX as TOP_ROWS_MAX
from counter.messages.door import UNTIL_ALL as UNTIL_ALL
from counter.messages.door import UNTIL_SHARE as UNTIL_SHARE
from counter.messages.door import UNTIL_STABLE as UNTIL_STABLE
from counter.messages.door import Answer as Answer
from counter.messages.door import Answered as Answered
from counter.messages.door import Cancel as Cancel
from counter.messages.door import Counted as Counted
from counter.messages.door import EndSession as EndSession
from counter.messages.door import Get as Get
from counter.messages.door import Increment as Increment
from counter.messages.door import Missing as Missing
from counter.messages.door import Query as Query
from counter.messages.door import Recall as Recall
from counter.messages.door import Recalled as Recalled
from counter.messages.door import SessionEnded as SessionEnded
from counter.messages.door import Value as Value
from counter.messages.doubts import DOUBT_ROOM_BYTES as DOUBT_ROOM_BYTES
from counter.messages.doubts import DOUBT_ROWS_MAX as DOUBT_ROWS_MAX
from counter.messages.doubts import DOUBT_ROWS_ROOM_BYTES as DOUBT_ROWS_ROOM_BYTES
from counter.messages.doubts import DoubtRow as DoubtRow
from counter.messages.doubts import UncertainMany as UncertainMany
from counter.messages.following import ANSWERED as ANSWERED
from counter.messages.following import CUT as CUT
from counter.messages.following import ENDED as ENDED
from counter.messages.following import QUERIES_PER_PAGE as QUERIES_PER_PAGE
from counter.messages.following import REPAIRS_SHOWN_MAX as REPAIRS_SHOWN_MAX
from counter.messages.following import RUNNING as RUNNING
from counter.messages.following import SILENT as SILENT
from counter.messages.following import STORY_EVENTS_MAX as STORY_EVENTS_MAX
from counter.messages.following import TRAIL_ROWS_PER_PAGE as TRAIL_ROWS_PER_PAGE
from counter.messages.following import WAITING as WAITING
from counter.messages.following import KillQuery as KillQuery
from counter.messages.following import ListQueries as ListQueries
from counter.messages.following import QueryKilled as QueryKilled
from counter.messages.following import QueryList as QueryList
from counter.messages.following import QueryRow as QueryRow
from counter.messages.following import Story as Story
from counter.messages.following import StoryEvent as StoryEvent
from counter.messages.following import TellStory as TellStory
from counter.messages.following import Trail as Trail
from counter.messages.following import TrailRow as TrailRow
from counter.messages.handover import COPYING as COPYING
from counter.messages.handover import DRAINED as DRAINED
from counter.messages.handover import FENCING as FENCING
from counter.messages.handover import HANDOVER as HANDOVER
from counter.messages.handover import LEAVING as LEAVING
from counter.messages.handover import PAGE_BYTES_MAX as PAGE_BYTES_MAX
from counter.messages.handover import PAGE_ROWS_MAX as PAGE_ROWS_MAX
from counter.messages.handover import PHASE_NAMES as PHASE_NAMES
from counter.messages.handover import QUIET_MS_MAX as QUIET_MS_MAX
from counter.messages.handover import RETIRED_PER_PAGE as RETIRED_PER_PAGE
from counter.messages.handover import SEALING as SEALING
from counter.messages.handover import SEEKING as SEEKING
from counter.messages.handover import STORES_MAX as STORES_MAX
from counter.messages.handover import Adopted as Adopted
from counter.messages.handover import Drain as Drain
from counter.messages.handover import DrainState as DrainState
from counter.messages.handover import Offer as Offer
from counter.messages.handover import Page as Page
from counter.messages.handover import Seal as Seal
from counter.messages.handover import Sole as Sole
from counter.messages.handover import Stored as Stored
from counter.messages.handover import Take as Take
from counter.messages.handover import retired_in as retired_in
from counter.messages.handover import share_rows as share_rows
from counter.messages.handover import stems_in as stems_in
from counter.messages.many import KEYS_BYTES_MAX as KEYS_BYTES_MAX
from counter.messages.many import KEYS_KEPT_MAX as KEYS_KEPT_MAX
from counter.messages.many import KEYS_PER_PAGE as KEYS_PER_PAGE
from counter.messages.many import KEYS_PER_QUERY_MAX as KEYS_PER_QUERY_MAX
from counter.messages.many import ROWS_PER_ANSWER_MAX as ROWS_PER_ANSWER_MAX
from counter.messages.many import ROWS_ROOM_BYTES as ROWS_ROOM_BYTES
from counter.messages.many import STORE_BYTES as STORE_BYTES
from counter.messages.many import WORKING as WORKING
from counter.messages.many import AskMany as AskMany
from counter.messages.many import Keyed as Keyed
from counter.messages.many import KeyedRow as KeyedRow
from counter.messages.many import KeyRow as KeyRow
from counter.messages.many import ReplyMany as ReplyMany
from counter.messages.many import is_question as is_question
from counter.messages.many import keys_in as keys_in
from counter.messages.many import label as label
from counter.messages.many import named as named
from counter.messages.many import names_in as names_in
from counter.messages.many import prefix_in as prefix_in
from counter.messages.many import prefixed as prefixed
from counter.messages.many import roll_in as roll_in
from counter.messages.many import with_epochs as with_epochs
from counter.messages.names import CLOSE as CLOSE
from counter.messages.names import DELETE as DELETE
from counter.messages.names import EPOCH_MAX as EPOCH_MAX
from counter.messages.names import LOOK as LOOK
from counter.messages.names import MARK_BYTES as MARK_BYTES
from counter.messages.names import NUL as NUL
from counter.messages.names import Subject as Subject
from counter.messages.names import key_in as key_in
from counter.messages.names import name_of as name_of
from counter.messages.names import stored_name as stored_name
from counter.messages.names import subject_in as subject_in
from counter.messages.newcomers import HOLDS as HOLDS
from counter.messages.newcomers import LACKS as LACKS
from counter.messages.newcomers import UNSAID as UNSAID
from counter.messages.newcomers import Doubled as Doubled
from counter.messages.newcomers import Here as Here
from counter.messages.newcomers import Sought as Sought
from counter.messages.newcomers import Whole as Whole
from counter.messages.newcomers import WholeTold as WholeTold
from counter.messages.parking import AT_WORK as AT_WORK
from counter.messages.parking import COUNTED_THERE as COUNTED_THERE
from counter.messages.parking import ELSEWHERE as ELSEWHERE
from counter.messages.parking import GRANTED as GRANTED
from counter.messages.parking import HOME_MAY_SAY as HOME_MAY_SAY
from counter.messages.parking import NO_HOME as NO_HOME
from counter.messages.parking import NO_WORD as NO_WORD
from counter.messages.parking import PARKED_PAIRS_SHOWN as PARKED_PAIRS_SHOWN
from counter.messages.parking import PARKED_ROWS_PER_PAGE as PARKED_ROWS_PER_PAGE
from counter.messages.parking import ROWS_PER_DISOWN_MAX as ROWS_PER_DISOWN_MAX
from counter.messages.parking import TOO_OLD as TOO_OLD
from counter.messages.parking import UNDERWAY as UNDERWAY
from counter.messages.parking import UNKNOWN_HOME as UNKNOWN_HOME
from counter.messages.parking import Disown as Disown
from counter.messages.parking import Disowned as Disowned
from counter.messages.parking import DropParked as DropParked
from counter.messages.parking import ListParked as ListParked
from counter.messages.parking import Park as Park
from counter.messages.parking import Parked as Parked
from counter.messages.parking import ParkedDropped as ParkedDropped
from counter.messages.parking import ParkedList as ParkedList
from counter.messages.parking import ParkedRow as ParkedRow
from counter.messages.resets import EPOCH_ROWS_BYTES as EPOCH_ROWS_BYTES
from counter.messages.resets import EPOCH_ROWS_MAX as EPOCH_ROWS_MAX
from counter.messages.resets import MARKS_MAX as MARKS_MAX
from counter.messages.resets import EpochRow as EpochRow
from counter.messages.resets import Epochs as Epochs
from counter.messages.resets import Learned as Learned
from counter.messages.resets import Lesson as Lesson
from counter.messages.resets import Marks as Marks
from counter.messages.resets import Reset as Reset
from counter.messages.resets import WasReset as WasReset
from counter.messages.resets import marks_in as marks_in
from counter.messages.resets import packed_marks as packed_marks
from tracker import wire
from tracker.messages import Introduce, Introduced

GOSSIP: Final = wire.Codec(
    *(Ask, Reply, Stop, Traced, Delegate, Ack, Batch, Back, ReplyMany, AskMany),
    *(AskAgain, ShortReply, Introduce, Introduced),
    *(Epochs, Lesson, Learned, Uncertain, UncertainMany),
    *(Sought, Here, Doubled, Whole, WholeTold),
)
"""What travels in datagrams."""

UNTIMED: Final = frozenset({Increment, Get, Ask})
"""Messages after which nothing is due sooner than the next beat to a tracker would be.

Forgetting an ask is due `memory_s` after it came, or later, and may be two seconds late.
"""
