%% SPDX-License-Identifier: Apache-2.0
%% The skin in the VM: without its library, loaded again, purged, from many processes, and how long
%% it keeps a scheduler.
-module(beamline_sfv_nif_tests).

-include_lib("eunit/include/eunit.hrl").

%% In VMs of their own, whose priv folder is what the test makes of it.
without_its_library_every_function_says_so_test_() ->
    {timeout, 120, fun() ->
        Priv = beamline_test:scratch_dir("sfv_priv"),
        Real = priv(),
        Skin = skin(),
        Core = core(),
        ?assertMatch({unsupported, {nif, _}}, loaded_from(Priv)),
        copy(Real, Priv, Skin),
        ?assertMatch({unsupported, {nif, _}}, loaded_from(Priv)), % the core is missing
        copy(Real, Priv, Core),
        ?assertEqual(works, loaded_from(Priv)),
        ok = file:write_file(filename:join(Priv, Skin), "not a library"),
        ?assertMatch({unsupported, {nif, _}}, loaded_from(Priv)),
        {ok, Whole} = file:read_file(filename:join(Real, Skin)),
        ok = file:write_file(filename:join(Priv, Skin), binary:part(Whole, 0, byte_size(Whole) div 2)),
        ?assertMatch({unsupported, {nif, _}}, loaded_from(Priv)),
        Mixed = binary:replace(Whole, <<0, (version())/binary, 0>>, <<0, (other(version()))/binary, 0>>, [global]),
        ?assertNotEqual(Whole, Mixed),
        ok = file:write_file(filename:join(Priv, Skin), Mixed),
        ?assertMatch({unsupported, {nif, _}}, loaded_from(Priv))
    end}.

priv() ->
    case os:getenv("BEAMLINE_PRIV", "") of
        "" -> code:priv_dir(beamline);
        Dir -> Dir
    end.

version() ->
    {ok, [{application, beamline, Keys}]} = file:consult(beamline_test:source_file("src/beamline.app.src")),
    list_to_binary(proplists:get_value(vsn, Keys)).

%% As long, and another one.
other(Version) -> << <<(case C of $0 -> $9; _ -> C end)>> || <<C>> <= Version >>.

skin() -> "beamline_sfv_nif-" ++ binary_to_list(version()) ++ ".so".
core() -> "libbeamline-" ++ binary_to_list(version()) ++ ".so".

copy(From, To, Name) -> {ok, _} = file:copy(filename:join(From, Name), filename:join(To, Name)).

loaded_from(Priv) ->
    Code = "Answers = [beamline_sfv:parse_item(<<\"1\">>), beamline_sfv:parse_list(<<\"1\">>, #{}), "
           "beamline_sfv:parse_dictionary(<<\"a\">>),"
           " beamline_sfv:item({item, 1, []}), beamline_sfv:list([]), beamline_sfv:dictionary([], #{}), "
           "beamline_sfv:inner_list({list, [], []}),"
           " beamline_sfv:canonical(item, <<\"1\">>), beamline_sfv:to_item(1)],"
           "io:format(\"~0p.~n\", [case [A || {ok, A} <- Answers] of"
           " All when length(All) =:= 9 -> works; [] -> [{error, Why}] = lists:usort(Answers), Why end]), halt().",
    Ebin = filename:dirname(code:which(beamline_sfv)),
    Command = lists:flatten(io_lib:format("BEAMLINE_PRIV='~s' erl -noshell -noinput -pa '~s' -eval '~s' 2>&1", [Priv, Ebin, Code])),
    Said = os:cmd(Command),
    {ok, Tokens, _} = erl_scan:string(Said),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

%% The module is loaded anew and purged while others call it.
reloading_and_purging_are_safe_under_load_test_() ->
    {timeout, 60, fun() ->
        Self = self(),
        Callers = [spawn_monitor(fun() -> call_until_told(Self) end) || _ <- lists:seq(1, 6)],
        [begin
             beamline_test:eventually(fun() -> code:soft_purge(Module) end),
             {module, _} = code:load_file(Module)
         end || _ <- lists:seq(1, 30), Module <- [beamline_sfv_nif, beamline_sfv]],
        [Pid ! stop || {Pid, _} <- Callers],
        [receive {'DOWN', Monitor, process, Pid, Why} -> ?assertEqual(normal, Why) end || {Pid, Monitor} <- Callers],
        ?assertEqual({ok, {item, 1, []}}, beamline_sfv:parse_item(<<"1">>))
    end}.

call_until_told(Parent) ->
    Large = binary:copy(<<"a;x=1, ">>, 3000),
    {ok, Members} = beamline_sfv:parse_list(<<Large/binary, "b">>),
    {ok, _} = beamline_sfv:list(Members),
    {ok, [{<<"a">>, {item, {string, <<"b">>}, []}}]} = beamline_sfv:parse_dictionary(<<"a=\"b\"">>),
    {error, {syntax, _}} = beamline_sfv:parse_item(<<>>),
    receive stop -> ok
    after 0 -> call_until_told(Parent) end.

%% Small input in place, large input on a dirty scheduler: seen by who runs it.
large_work_leaves_the_scheduler_test_() ->
    {timeout, 60, fun() ->
        {ok, Members} = beamline_sfv:parse_list(Text = <<(binary:copy(<<"a, ">>, 60000))/binary, "a">>),
        Large = {string, binary:copy(<<"x">>, 900000)},
        [?assertEqual(Dirty, runs_dirty(Fun), Name) || {Name, Dirty, Fun} <- [
            {parse, true, fun() -> beamline_sfv:parse_list(Text) end}, {write, true, fun() -> beamline_sfv:list(Members) end},
            {lines, true, fun() -> beamline_sfv:parse_list([Text, Text], #{members => infinity}) end},
            {many_lines, true, fun() -> beamline_sfv:parse_list(lists:duplicate(5000, <<"a">>)) end},
            {dense, true, fun() -> beamline_sfv:parse_list(<<(binary:copy(<<"a,">>, 6000))/binary, "a">>) end},
            {dense_lines, true, fun() -> beamline_sfv:parse_list(lists:duplicate(2, <<(binary:copy(<<"a,">>, 3000))/binary, "a">>)) end},
            {long_keys, true, fun() -> beamline_sfv:dictionary([{<<(binary:copy(<<"k">>, 10000))/binary, (integer_to_binary(I))/binary>>,
                {list, [], []}} || I <- lists:seq(1, 50)]) end},
            {many_texts, true, fun() -> beamline_sfv:list(lists:duplicate(10, {item, {string, binary:copy(<<"x">>, 10000)}, []})) end},
            {text, true, fun() -> beamline_sfv:item({item, Large, []}) end},
            {small, false, fun() -> beamline_sfv:parse_list(<<"a, b">>) end}]]
    end}.

%% The tracer calls all dirty schedulers 0, and names the function that the process goes on with.
runs_dirty(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> receive go -> ok end, Fun() end),
    1 = erlang:trace(Pid, true, [running, scheduler_id]),
    Pid ! go,
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    Delivered = erlang:trace_delivered(Pid),
    receive {trace_delivered, Pid, Delivered} -> ok end,
    is_among_traces(Pid).

is_among_traces(Pid) ->
    receive
        {trace, Pid, in, {beamline_sfv_nif, _, _}, 0} -> _ = is_among_traces(Pid), true;
        {trace, Pid, _, _, _} -> is_among_traces(Pid)
    after 0 -> false end.

%% A process that does nothing but small calls gives way: it is charged for them, also where they make
%% one value of much text, or end in a refusal.
native_work_is_charged_test_() ->
    Field = <<(binary:copy(<<"token;q=0.5, ">>, 1000))/binary, "a">>,
    Display = <<"%\"", (binary:copy(<<"%c3%bc">>, 2000))/binary, "\"">>,
    Text = {item, {display, binary:copy(<<"ü"/utf8>>, 8000)}, []},
    Members = [{item, N, []} || N <- lists:seq(1, 8000)],
    Bad = Members ++ [{item, {token, <<>>}, []}],
    [{atom_to_list(Name), ?_assert(reductions_of(Call, 20) > 20 * 100)} || {Name, Call} <- [
        {values, fun() -> {ok, _} = beamline_sfv:parse_list(Field) end},
        {lines, fun() -> {ok, _} = beamline_sfv:parse_list([Field, <<"a">>]) end},
        {text, fun() -> {ok, _} = beamline_sfv:parse_item(Display) end},
        {malformed, fun() -> {error, {syntax, _}} = beamline_sfv:parse_list(<<Field/binary, ",">>) end},
        {malformed_lines, fun() -> {error, {syntax, _}} = beamline_sfv:parse_list([Field, <<>>]) end},
        {written_values, fun() -> {ok, _} = beamline_sfv:list(Members) end},
        {written_text, fun() -> {ok, _} = beamline_sfv:item(Text) end},
        {refused, fun() -> {error, {invalid, _}} = beamline_sfv:list(Bad) end}]].

reductions_of(Call, Times) ->
    Call(),
    {reductions, Before} = process_info(self(), reductions),
    [Call() || _ <- lists:seq(1, Times)],
    {reductions, After} = process_info(self(), reductions),
    After - Before.
