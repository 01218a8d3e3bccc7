%% SPDX-License-Identifier: Apache-2.0
%% @private Server-sent events to a reader of any speed. Pure: functions over a state, whose
%% owner sends the bytes and says when they were taken.
%%
%% At most one chunk is on its way. While it is, progress is kept as the newest alone, so a
%% slow reader costs one event of memory and no task waits for him. The last event carries the
%% end of the stream: a stream ended by an empty chunk can hang (HTTP/2, cowboy 2.8 and 2.18).
-module(beamline_service_sse).

-export([new/1, progress/2, heartbeat/1, last/2, taken/1, next/2, event/2]).
-export_type([state/0]).

%% HTTP/1.1 tells us when a chunk was taken; over HTTP/2 cowboy takes everything into its buffer.
%% There the first `?FAST_BYTES' go as they come, then one event a second.
-define(FAST_BYTES, 65536).
-define(SLOW_GAP_MS, 1000).

-type state() :: #{
    busy := boolean(),                 % a chunk is on its way
    newest := none | map(),            % progress not sent yet
    beat := boolean(),                 % a heartbeat is due
    last := none | iodata() | sent,
    sent := non_neg_integer(),         % bytes
    at := integer(),                   % when the last chunk went, ms
    bounded := boolean()               % the transport holds us back by itself
}.

-spec new(cowboy:http_version() | atom()) -> state().
new(Version) ->
    #{busy => false, newest => none, beat => false, last => none, sent => 0, at => 0, bounded => Version =/= 'HTTP/2'}.

-spec progress(map(), state()) -> state().
progress(Progress, State) -> State#{newest := Progress}.

-spec heartbeat(state()) -> state().
heartbeat(State) -> State#{beat := true}.

%% The event that ends the stream. Progress that was not sent is dropped.
-spec last(iodata(), state()) -> state().
last(Event, State) -> State#{last := Event, newest := none}.

-spec taken(state()) -> state().
taken(State) -> State#{busy := false}.

%% What to send now, if anything.
-spec next(integer(), state()) -> {send, iodata(), fin | nofin, state()} | {wait, state()}.
next(_, #{busy := true} = State) -> {wait, State};
next(_, #{last := sent} = State) -> {wait, State};
next(_, #{last := Event} = State) when Event =/= none -> {send, Event, fin, State#{last := sent, busy := true}};
next(Now, #{newest := Progress} = State) when Progress =/= none ->
    case held_back(Now, State) of
        true -> {wait, State};
        false -> send(event(progress, Progress), Now, State#{newest := none, beat := false})
    end;
next(Now, #{beat := true} = State) -> send(<<":\n\n">>, Now, State#{beat := false});
next(_, State) -> {wait, State}.

send(Data, Now, #{sent := Sent} = State) ->
    {send, Data, nofin, State#{busy := true, at := Now, sent := Sent + iolist_size(Data)}}.

held_back(Now, #{bounded := false, sent := Sent, at := At}) -> Sent > ?FAST_BYTES andalso Now - At < ?SLOW_GAP_MS;
held_back(_, _) -> false.

%% JSON holds no raw line break, so one data line is enough.
-spec event(atom(), map()) -> iodata().
event(Name, Data) -> ["event: ", atom_to_binary(Name), "\ndata: ", beamline_service_json:encode(Data), "\n\n"].
