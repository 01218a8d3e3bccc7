%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The loader of c_src/beam/bl_sfv_nif.c. Nothing here raises when a library is missing, broken
%% or of another version: every function answers `{error, {unsupported, {nif, Why}}}'.
%%
%% The second argument is `{RelaxedKeys, StrictBase64, Copy, Bytes, Members, InnerMembers, Params}'.
-module(beamline_sfv_nif).

-export([parse_item/1, parse_item/2, parse_list/1, parse_list/2, parse_dictionary/1, parse_dictionary/2,
         item/1, item/2, list/1, list/2, dictionary/1, dictionary/2, inner_list/1, inner_list/2]).
-export_type([options/0]).

-on_load(load/0).

-type limit() :: non_neg_integer() | infinity.
-type options() :: {boolean(), boolean(), boolean(), limit(), limit(), limit(), limit()}.
-type parsed() :: {ok, term()} | {error, term()}.
-type written() :: {ok, binary()} | {error, term()} | big.

-spec load() -> ok.
load() -> beamline_native:loaded(?MODULE, erlang:load_nif(beamline_native:nif("beamline_sfv_nif"), beamline_native:version())).

missing() -> beamline_native:missing(?MODULE).

-spec parse_item(binary() | [binary()]) -> parsed().
parse_item(_) -> missing().

-spec parse_item(binary() | [binary()], options()) -> parsed().
parse_item(_, _) -> missing().

-spec parse_list(binary() | [binary()]) -> parsed().
parse_list(_) -> missing().

-spec parse_list(binary() | [binary()], options()) -> parsed().
parse_list(_, _) -> missing().

-spec parse_dictionary(binary() | [binary()]) -> parsed().
parse_dictionary(_) -> missing().

-spec parse_dictionary(binary() | [binary()], options()) -> parsed().
parse_dictionary(_, _) -> missing().

-spec item(term()) -> written().
item(_) -> missing().

-spec item(term(), options()) -> written().
item(_, _) -> missing().

-spec list(term()) -> written().
list(_) -> missing().

-spec list(term(), options()) -> written().
list(_, _) -> missing().

-spec dictionary(term()) -> written().
dictionary(_) -> missing().

-spec dictionary(term(), options()) -> written().
dictionary(_, _) -> missing().

-spec inner_list(term()) -> written().
inner_list(_) -> missing().

-spec inner_list(term(), options()) -> written().
inner_list(_, _) -> missing().
