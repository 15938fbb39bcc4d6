package main

import "testing"

func TestCount(t *testing.T) {
	for text, want := range map[string]Counts{
		"":                          {},
		"\n":                        {Lines: 1, Letters: 1},
		"one\ntwo":                  {Lines: 2, Words: 2, Letters: 7, Longest: "one"},
		"ä\u00a0öü x\r\nlonger é\n": {Lines: 2, Words: 5, Letters: 17, Longest: "longer"},
		"日本 abc 語語語":                {Lines: 1, Words: 3, Letters: 10, Longest: "abc"},
	} {
		var input Input
		input.Item.Path, input.Item.Text = "p", text
		want.Path = "p"
		if got, _ := count(t.Context(), input); got != want {
			t.Errorf("%q: %+v, wanted %+v", text, got, want)
		}
	}
}
