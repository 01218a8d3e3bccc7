%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Starting `priv/beamline_host' for a part, and what all parts think of its end. Who starts one owns the port, gets
%% `{Port, {exit_status, Status}}', and ends the process by closing the port.
-module(beamline_os_process).

-export([start/1, stop/1, kill/1, ended/1, back_off/2]).
-export([join_ms/0]).

-define(BACK_OFF_MS, 100).
-define(MAX_BACK_OFF_MS, 30_000).
%% What a process that was started gets to say that it is there.
-define(JOIN_MS, 10_000).
%% A process that lasted so long did not die of its start.
-define(STEADY_MS, 60_000).

-spec start([file:filename_all()]) -> {ok, port()} | {error, {unsupported, term()} | {host_exited, term()}}.
start(Args) ->
    case beamline_native:host() of
        {ok, Program} ->
            try
                {ok, open_port({spawn_executable, Program}, [exit_status, binary, hide, {args, Args}])}
            catch
                error:Why -> {error, {host_exited, Why}}
            end;
        {error, Why} ->
            {error, {unsupported, {host, Why}}}
    end.

-spec stop(port() | none) -> ok.
stop(none) ->
    ok;
stop(Process) ->
    try port_close(Process) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% For one that has not joined, so that nobody else knows it: it may hang, and then the end of its standard input is
%% nothing to it. Its exit status comes as ever, unless there was no descriptor left to do it with: ask again. (While the port is
%% open the number is not given to another process: who started it waits for its end.)
-spec kill(port() | none) -> ok.
kill(none) ->
    ok;
kill(Process) ->
    case erlang:port_info(Process, os_pid) of
        {os_pid, Pid} ->
            try os:cmd("kill -KILL " ++ integer_to_list(Pid)) of
                _ -> ok
            catch
                error:_ -> ok
            end;
        undefined ->
            ok
    end.

-spec join_ms() -> pos_integer().
join_ms() -> ?JOIN_MS.

%% How it ended, for people.
-spec ended(non_neg_integer()) -> binary().
ended(Status) when Status > 128 -> iolist_to_binary(["killed by signal ", integer_to_binary(Status - 128)]);
ended(Status) -> iolist_to_binary(["ended with status ", integer_to_binary(Status)]).

%% Milliseconds to wait before the next one: twice as many as the last time, `none' at first, unless the last one was steady.
-spec back_off(LastMs :: pos_integer() | none, LastedMs :: integer()) -> pos_integer().
back_off(none, _) -> ?BACK_OFF_MS;
back_off(_, Lasted) when Lasted > ?STEADY_MS -> ?BACK_OFF_MS;
back_off(Ms, _) -> min(2 * Ms, ?MAX_BACK_OFF_MS).
