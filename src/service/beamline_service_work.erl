%% SPDX-License-Identifier: Apache-2.0
%% @private Runs the tasks of one job (beamline_service_job) for the process that calls, which
%% hands in its messages. That process owns the tasks: they are cancelled when it dies.
-module(beamline_service_work).

-export([start/3, message/2, cancel/1, stage/1]).
-export_type([work/0, outcome/0]).

-opaque work() :: #{pool := atom(), job := beamline_service_job:job(), ref := reference(), begun := integer(),
                    kind := relaxation | structure}.
-type outcome() :: {done, beamline_service_job:result()} | {error, beamline_service_problem:reason()}.

-spec start(atom(), beamline_service_request:plan(), binary()) -> {running, work()} | {finished, outcome()}.
start(Pool, Plan, Body) ->
    Now = now_us(),
    step(beamline_service_job:new(Plan, Body, Now), #{pool => Pool, begun => Now, kind => kind(Plan)}).

kind(#{work := _}) -> structure;
kind(_) -> relaxation.

-spec message(term(), work()) -> {progress, map(), work()} | {running, work()} | {finished, outcome()} | not_mine.
message({beamline, Ref, {progress, Progress}}, #{ref := Ref} = Work) -> {progress, Progress, Work};
message({beamline, Ref, Answer}, #{ref := Ref, job := Job} = Work) ->
    step(beamline_service_job:next(Answer, Job, now_us()), Work);
message({beamline, _, _}, Work) -> {running, Work}; % what a cancelled task still had to say
message(_, _) -> not_mine.

%% Ends it without an outcome. What is still in the mailbox of the caller stays there.
-spec cancel(work()) -> ok.
cancel(#{ref := Ref, begun := Begun, kind := Kind}) ->
    _ = beamline_runtime:cancel(Ref),
    beamline_service_metrics:finished(Kind, cancelled, now_us() - Begun).

-spec stage(work()) -> atom().
stage(#{job := Job}) -> beamline_service_job:stage(Job).

step({run, Op, Args, Opts, Job}, #{pool := Pool} = Work) ->
    {ok, Ref} = beamline_runtime:submit(Pool, Op, Args, Opts),
    {running, Work#{ref => Ref, job => Job}};
step(Outcome, #{begun := Begun, kind := Kind}) ->
    beamline_service_metrics:finished(Kind, Outcome, now_us() - Begun),
    {finished, Outcome}.

now_us() -> erlang:monotonic_time(microsecond).
