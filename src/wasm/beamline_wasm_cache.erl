%% SPDX-License-Identifier: Apache-2.0
-module(beamline_wasm_cache).
-export([place/2]).
-spec place(binary(), file:filename() | none) -> {undefined, undefined}.
place(_, _) -> {undefined, undefined}.
