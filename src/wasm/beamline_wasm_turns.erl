%% SPDX-License-Identifier: Apache-2.0
%% @private Waiting for an instance that another process uses: first come, first served. The guest itself keeps the queue and
%% gives the turn away when it is idle; until the process that has it comes, all others are refused.
-module(beamline_wasm_turns).

-export([hold/3, wait/2, take/2, done/2]).

-define(LOOK_MS, 20). % a call that was ended by its deadline or by a death tells nobody that the guest is idle

%% Nobody else uses the guest while Fun runs; each use in it goes through take/2.
-spec hold(reference(), timeout(), fun(() -> Answer)) -> Answer | {error, beamline_wasm:reason()}.
hold(Guest, Timeout, Fun) ->
    case wait(Guest, Timeout) of
        {ok, Turn, _} -> try Fun() after done(Guest, Turn) end;
        own -> Fun();
        {error, _} = Error -> Error
    end.

%% The turn, and how much of the time is left. own: the process has the guest already, in an import.
-spec wait(reference(), timeout()) -> {ok, Turn :: reference(), timeout()} | own | {error, beamline_wasm:reason()}.
wait(Guest, Timeout) ->
    Turn = make_ref(),
    case beamline_wasm_nif:wait(Guest, Turn) of
        ok -> receive_turn(Guest, Turn, Timeout, erlang:monotonic_time(millisecond));
        own -> own;
        {error, _} = Error -> Error
    end.

receive_turn(Guest, Turn, Timeout, Begin) ->
    Left = left(Timeout, Begin),
    receive
        {beamline_wasm_turn, Turn, ok} -> {ok, Turn, Left};
        {beamline_wasm_turn, Turn, closed} -> {error, closed}
    after min(Left, ?LOOK_MS) ->
        case Left of
            0 ->
                done(Guest, Turn),
                {error, {busy, 0}};
            _ ->
                ok = beamline_wasm_nif:next_turn(Guest),
                receive_turn(Guest, Turn, Timeout, Begin)
        end
    end.

left(infinity, _) -> infinity;
left(Timeout, Begin) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Begin)).

%% Enters with Call, whose turn it is. Somebody may still be inside, who came in before the turn was given, or who looks whether he may.
-spec take(fun(() -> Answer), timeout()) -> Answer.
take(Call, Timeout) -> take(Call, Timeout, erlang:monotonic_time(millisecond)).

take(Call, Timeout, Begin) ->
    case Call() of
        {error, {busy, 0}} = Busy ->
            case left(Timeout, Begin) of
                0 -> Busy;
                _ -> receive after 1 -> take(Call, Timeout, Begin) end
            end;
        Step ->
            Step
    end.

%% Gives a turn back that was not used, or the place in the queue. Harmless after it was used.
-spec done(reference(), reference()) -> ok.
done(Guest, Turn) ->
    ok = beamline_wasm_nif:unwait(Guest, Turn),
    receive
        {beamline_wasm_turn, Turn, _} -> ok
    after 0 ->
        ok
    end.
