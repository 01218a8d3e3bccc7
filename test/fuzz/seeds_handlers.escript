#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% Writes seeds for fuzz_handlers: seeds_handlers.escript DIR

main([Dir]) ->
    ok = filelib:ensure_dir(filename:join(Dir, "any")),
    Inputs = [[<<(byte_size(Image)):16/little>>, Image, Choices]
              || Image <- [image(1, 2), image(2, 64), image(1, 65)], Choices <- choices()],
    [ok = file:write_file(filename:join(Dir, io_lib:format("~4..0b", [N])), Input)
     || {N, Input} <- lists:zip(lists:seq(1, length(Inputs)), Inputs)];
main(_) ->
    io:format(standard_error, "usage: seeds_handlers.escript DIR~n", []),
    halt(2).

%% The table at 64, its rows at 128, lists of names at 512, names at 1024 and 1032.
image(Rows, Names) ->
    Row = <<1024:32/little, 1032:32/little, 1:32/little, 1:32/little, 64:64/little, 64:64/little, 128:64/little,
            512:32/little, 4096:32/little, 1:32/little, 2:32/little, 3:32/little, 0:32>>,
    at([{64, <<1:32/little, Rows:32/little, 128:32/little>>}, {128, binary:copy(Row, Rows)},
        {512, <<(binary:copy(<<1024:32/little>>, Names))/binary, 0:32>>},
        {1024, <<"name", 0>>}, {1032, <<"other", 0>>}, {4096, <<1024:32/little, 1032:32/little, 0:32>>}], <<>>).

at([{Address, Bytes} | More], Before) ->
    at(More, <<Before/binary, 0:(8 * (Address - byte_size(Before))), Bytes/binary>>);
at([], Image) -> Image.

%% The limit; opened; the table's address: 8 chooses an address, which is 64 times 1. Then an actor: size of the state, opened, its
%% room at 64 times 2 with more memory; messages.
choices() ->
    Start = [5, 0, 8, 2, 1],
    Actor = [16, 2, 0, 9, 255, 2, 2],
    Message = [10, 0, 2, 25, 25, 0, 0],
    %% The same, and the guest writes into its outbox, which is at 128: replied, where the reply is, how long.
    Reply = fun(Where, Long) -> [10, 0, 2, 25, 25, 6, [3, 2, 6, 1, 0], [3, 2, 2 | Where], [3, 2, 4 | Long], 0] end,
    [[Start, Actor, [Reply(W, L) || _ <- [1, 2, 3]]] || W <- [[200, 0], [255, 6], [255, 24]], L <- [[10, 0], [255, 4], [255, 24]]] ++
    [Start, [Start, Actor], [Start, Actor, lists:duplicate(8, Message)], [Start, Actor, Message, lists:duplicate(64, 23)],
     [Start, Actor, Message, lists:seq(0, 255)], [Start, Actor, lists:duplicate(40, [8, 5, 3, 99, 2])]].
