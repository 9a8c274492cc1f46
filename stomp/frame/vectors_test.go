package frame

import "strings"

// vector is one stream as it is on the wire and what it means. The decoder, encoder and fuzz tests all use the one table.
type vector struct {
	name    string
	version Version // at the start; a CONNECT with accept-version changes it, as a session would
	limits  *Limits
	wire    string
	frames  []Frame
	err     string // text of the error after the frames, if there is one
	partial bool   // the stream stops within a frame
	// lenient marks what is accepted but not written so: the encoder would write the frames in another way.
	lenient bool
}

// tight are limits that short vectors can break.
var tight = &Limits{
	Command: 8, HeaderLine: 17, Headers: 3, Frame: 64,
	Named: map[string]int{"client-data": 24, "w": 3},
}

func h(pairs ...string) Header {
	var header Header
	for i := 0; i < len(pairs); i += 2 {
		header = append(header, Field{pairs[i], pairs[i+1]})
	}
	return header
}

func one(command string, header Header, body string) []Frame {
	f := Frame{Command: command, Header: header}
	if body != "" {
		f.Body = []byte(body)
	}
	return []Frame{f}
}

var vectors = []vector{
	// STOMP 1.2, STOMP Frames.
	{name: "no header, no body", version: V12, wire: "DISCONNECT\n\n\x00", frames: one(Disconnect, nil, "")},
	{
		name: "header and body", version: V12,
		wire:   "SEND\ndestination:/queue/a\ncontent-type:text/plain\ncontent-length:15\n\nhello queue a\n\n\x00",
		frames: one(Send, h(HdrDestination, "/queue/a", HdrContentType, "text/plain", HdrContentLength, "15"), "hello queue a\n\n"),
	},
	{
		name: "body that ends at the NUL", version: V12, lenient: true,
		wire:   "SEND\ndestination:/queue/a\n\nhello\n\n\x00",
		frames: one(Send, h(HdrDestination, "/queue/a"), "hello\n\n"),
	},
	{
		name: "empty MESSAGE has a content-length", version: V12,
		wire:   "MESSAGE\nsubscription:0\ncontent-length:0\n\n\x00",
		frames: one(Message, h(HdrSubscription, "0", HdrContentLength, "0"), ""),
	},
	{
		name: "empty ERROR has a content-length", version: V10,
		wire:   "ERROR\nmessage:no: really\ncontent-length:0\n\n\x00",
		frames: one(Error, h(HdrMessage, "no: really", HdrContentLength, "0"), ""),
	},
	{name: "nothing", version: V12, wire: ""},
	{name: "unknown command", version: V12, wire: "HELLO\n\n\x00", frames: one("HELLO", nil, "")},
	{name: "lower-case command", version: V12, wire: "send\n\n\x00", err: `not a command: "send"`},
	{name: "command with a space", version: V12, wire: "SEND \n\n\x00", err: `not a command: "SEND "`},
	{name: "garbage of another protocol", version: V12, wire: "GET / HTTP/1.1\r\n\r\n", err: `not a command: "GET / HTTP/1.1"`},
	{name: "raw bytes are quoted", version: V11, wire: "\x1b[31m\xff\r\n", err: `not a command: "\x1b[31m\xff\r"`},
	{
		name: "long citations are cut", version: V12,
		wire: "SEND\n" + strings.Repeat("x", 100) + "\n",
		err:  `header line without a colon: "` + strings.Repeat("x", 40) + `"...`,
	},
	{name: "stray NUL", version: V12, wire: "\x00", err: "NUL in the head of a frame"},
	{name: "NUL in the command", version: V12, wire: "SE\x00ND\n", err: "NUL in the head of a frame"},
	{name: "NUL in a name", version: V12, wire: "SEND\na\x00b:c\n", err: "NUL in the head of a frame"},
	{name: "NUL in a value", version: V12, wire: "SEND\na:b\x00", err: "NUL in the head of a frame"},
	{name: "NUL in place of the empty line", version: V12, wire: "SEND\na:b\n\x00", err: "NUL in the head of a frame"},
	{name: "header line without a colon", version: V12, wire: "SEND\na\n", err: `header line without a colon: "a"`},
	{name: "header line without a name", version: V12, wire: "SEND\n:a\n", err: `header line without a name: ":a"`},
	{name: "header that is not UTF-8", version: V12, wire: "SEND\na:\xe4\n\n\x00", err: "header is not UTF-8"},
	{name: "header that is UTF-8", version: V12, wire: "SEND\nü:→\n\n\x00", frames: one(Send, h("ü", "→"), "")},
	{name: "cut in the command", version: V12, wire: "SE", partial: true},
	{name: "cut in the head", version: V12, wire: "SEND\na:b\n", partial: true},
	{name: "cut in the body", version: V12, wire: "SEND\n\nabc", partial: true},
	{name: "cut in a counted body", version: V12, wire: "SEND\ncontent-length:3\n\nabc", partial: true},

	// EOLs between frames. STOMP 1.2, Augmented BNF and Heart-beating.
	{name: "heart-beats only", version: V12, wire: "\n\r\n\n\n", lenient: true},
	{
		name: "two frames and heart-beats", version: V12, lenient: true,
		wire:   "\nBEGIN\ntransaction:1\n\n\x00\n\r\n\nCOMMIT\ntransaction:1\n\n\x00\n",
		frames: append(one(Begin, h(HdrTransaction, "1"), ""), one(Commit, h(HdrTransaction, "1"), "")...),
	},
	{
		name: "two frames at once", version: V12,
		wire:   "BEGIN\ntransaction:1\n\n\x00COMMIT\ntransaction:1\n\n\x00",
		frames: append(one(Begin, h(HdrTransaction, "1"), ""), one(Commit, h(HdrTransaction, "1"), "")...),
	},
	{
		name: "two counted frames at once", version: V12,
		wire:   "SEND\ncontent-length:1\n\na\x00SEND\ncontent-length:1\n\nb\x00",
		frames: append(one(Send, h(HdrContentLength, "1"), "a"), one(Send, h(HdrContentLength, "1"), "b")...),
	},
	{name: "CR without LF between frames", version: V12, wire: "\n\rSEND\n\n\x00", err: "CR without LF between frames"},
	{name: "CR twice between frames", version: V12, wire: "\r\r\n", err: "CR without LF between frames"},
	{name: "CR between frames of 1.1", version: V11, wire: "\n\r\n", err: `not a command: "\r"`},
	{name: "the frame before the error", version: V12, wire: "ABORT\n\n\x00junk\n", frames: one(Abort, nil, ""), err: `not a command: "junk"`},

	// Ends of lines. STOMP 1.2, Augmented BNF; 1.1 and 1.0 know LF only.
	{
		name: "CR LF in 1.2", version: V12, lenient: true,
		wire:   "SEND\r\ndestination:a\r\nempty:\r\n\r\nbody\r\n\x00",
		frames: one(Send, h(HdrDestination, "a", "empty", ""), "body\r\n"),
	},
	{
		name: "CR LF before the negotiation", lenient: true,
		wire:   "CONNECT\r\naccept-version:1.2\r\n\r\n\x00\r\n",
		frames: one(Connect, h(HdrAcceptVersion, "1.2"), ""),
	},
	{name: "CR LF after a command of 1.1", version: V11, wire: "SEND\r\n\r\n\x00", err: `not a command: "SEND\r"`},
	{
		name: "CR is text in 1.1", version: V11, wire: "SEND\na:b\r\nc\r:\rd\n\n\x00",
		frames: one(Send, h("a", "b\r", "c\r", "\rd"), ""),
	},
	{
		name: "CR is text in 1.0", version: V10, lenient: true, wire: "SEND\na:b\r\n\n\x00",
		frames: one(Send, h("a", "b\r"), ""),
	},
	{name: "CR LF is no empty line in 1.1", version: V11, wire: "SEND\na:b\n\r\n", err: `header line without a colon: "\r"`},
	{name: "CR inside of a line in 1.2", version: V12, wire: "SEND\na:b\rc\n\n\x00", err: `CR inside of the header line "a"`},
	{name: "CR CR LF in 1.2", version: V12, wire: "SEND\na:b\r\r\n\n\x00", err: `CR inside of the header line "a"`},
	{
		name: "CR inside of a line before the negotiation", lenient: true, wire: "CONNECT\npasscode:b\rc\n\n\x00",
		frames: one(Connect, h(HdrPasscode, "b\rc"), ""),
	},

	// Header content-length.
	{
		name: "NUL in a body", version: V12, wire: "SEND\ncontent-length:3\n\n\x00\x00\x00\x00",
		frames: one(Send, h(HdrContentLength, "3"), "\x00\x00\x00"),
	},
	{
		name: "the first content-length counts", version: V12, lenient: true,
		wire:   "SEND\ncontent-length:2\ncontent-length:x\n\n\x00\x00\x00",
		frames: one(Send, h(HdrContentLength, "2", HdrContentLength, "x"), "\x00\x00"),
	},
	{
		name: "leading zeros", version: V12, lenient: true, wire: "SEND\ncontent-length:0000000000000000000000001\n\na\x00",
		frames: one(Send, h(HdrContentLength, "0000000000000000000000001"), "a"),
	},
	{name: "content-length too short", version: V12, wire: "SEND\ncontent-length:1\n\nab\x00", err: "body is not followed by NUL: content-length does not fit"},
	{name: "content-length too long", version: V12, wire: "SEND\ncontent-length:3\n\nab\x00BEGIN\n", err: "body is not followed by NUL: content-length does not fit"},
	{name: "negative content-length", version: V12, wire: "SEND\ncontent-length:-1\n", err: `content-length is not a decimal number: "-1"`},
	{name: "content-length with a sign", version: V12, wire: "SEND\ncontent-length:+1\n", err: `content-length is not a decimal number: "+1"`},
	{name: "content-length with a space", version: V10, wire: "SEND\ncontent-length: 1\n", err: `content-length is not a decimal number: " 1"`},
	{name: "empty content-length", version: V12, wire: "SEND\ncontent-length:\n", err: `content-length is not a decimal number: ""`},
	{name: "content-length in other digits", version: V12, wire: "SEND\ncontent-length:٣\n", err: `content-length is not a decimal number: "\u0663"`},
	{name: "content-length over the limit", version: V12, wire: "SEND\ncontent-length:99999\n\n", err: "frame is over the limit frame_size of 65536 bytes"},
	{name: "content-length beyond all numbers", version: V12, wire: "SEND\ncontent-length:18446744073709551617\n\n", err: "frame is over the limit frame_size of 65536 bytes"},

	// Repeated Header Entries.
	{
		name: "repeated names are kept", version: V12, wire: "MESSAGE\nfoo:World\nfoo:Hello\ncontent-length:0\n\n\x00",
		frames: one(Message, h("foo", "World", "foo", "Hello", HdrContentLength, "0"), ""),
	},

	// Value Encoding.
	{
		name: "escapes of 1.2", version: V12, wire: `SEND` + "\n" + `a\cb\n:\\n\c\r\\` + "\n\n\x00",
		frames: one(Send, h("a:b\n", `\n:`+"\r\\"), ""),
	},
	{
		name: "escapes of 1.1", version: V11, wire: `SEND` + "\n" + `a\cb\n:\\n\c\\` + "\n\n\x00",
		frames: one(Send, h("a:b\n", `\n:\`), ""),
	},
	{
		name: "1.0 has no escapes", version: V10, wire: "SEND\na\\c:\\n:\\x\\\n\n\x00",
		frames: one(Send, h(`a\c`, `\n:\x\`), ""),
	},
	{
		name: "raw colon in a value", version: V12, lenient: true, wire: "SEND\ndestination:ws://host\n\n\x00",
		frames: one(Send, h(HdrDestination, "ws://host"), ""),
	},
	{name: "tab has no escape", version: V12, wire: "SEND\na:b\\tc\n\n\x00", err: `undefined escape in a header: "\\t"`},
	{name: "CR has no escape in 1.1", version: V11, wire: "SEND\na:b\\rc\n\n\x00", err: `undefined escape in a header: "\\r"`},
	{name: "undefined escape in a name", version: V12, wire: "SEND\na\\x:b\n\n\x00", err: `undefined escape in a header: "\\x"`},
	{name: "escape cut by the end of the line", version: V12, wire: "SEND\na:b\\\n\n\x00", err: "header ends in the middle of an escape"},
	{name: "escape cut by the colon", version: V12, wire: "SEND\na\\:n\n\n\x00", err: "header ends in the middle of an escape"},
	{
		name: "spaces are kept", version: V12, wire: "SEND\n a : b \n\n\x00",
		frames: one(Send, h(" a ", " b "), ""),
	},
	{
		name: "the spaces of the examples of 1.0 are kept", version: V10, wire: "CONNECT\nlogin: name\n\n\x00",
		frames: one(Connect, h(HdrLogin, " name"), ""),
	},

	// CONNECT and CONNECTED. STOMP 1.2, Value Encoding: they have no escapes.
	{
		name: "no escapes in CONNECT", wire: "CONNECT\npasscode:a\\b:c\\\n\n\x00",
		frames: one(Connect, h(HdrPasscode, `a\b:c\`), ""),
	},
	{
		name: "no escapes in STOMP of 1.2", version: V12, wire: "STOMP\npasscode:a\\b:c\\\n\n\x00",
		frames: one(Stomp, h(HdrPasscode, `a\b:c\`), ""),
	},
	{
		name: "no escapes in CONNECTED of 1.2", version: V12, wire: "CONNECTED\nserver:a\\b:c\\\n\n\x00",
		frames: one(Connected, h(HdrServer, `a\b:c\`), ""),
	},
	{
		name:    "the version takes effect with the next frame",
		wire:    "CONNECT\naccept-version:1.2\na:\\n\n\n\x00SEND\na:\\n\n\n\x00",
		frames:  append(one(Connect, h(HdrAcceptVersion, "1.2", "a", `\n`), ""), one(Send, h("a", "\n"), "")...),
		lenient: true,
	},
	{
		name:    "EOL of the new version after CONNECT",
		wire:    "CONNECT\naccept-version:1.1\n\n\x00\r\n",
		frames:  one(Connect, h(HdrAcceptVersion, "1.1"), ""),
		err:     `not a command: "\r"`,
		lenient: true,
	},

	// Size Limits.
	{
		name: "command at the limit", version: V12, limits: tight, lenient: true, wire: "COMMANDS\r\n\n\x00",
		frames: one("COMMANDS", nil, ""),
	},
	{name: "command over the limit", version: V12, limits: tight, wire: "COMMANDSS", err: "frame is over the limit command_line of 8 bytes"},
	{name: "CR that is not the end", version: V12, limits: tight, wire: "COMMANDS\rX", err: "frame is over the limit command_line of 8 bytes"},
	{name: "CR counts in 1.1", version: V11, limits: tight, wire: "COMMANDS\r", err: "frame is over the limit command_line of 8 bytes"},
	{
		name: "header line at the limit", version: V12, limits: tight, lenient: true, wire: "SEND\nfifteen:abcdefghi\r\n\n\x00",
		frames: one(Send, h("fifteen", "abcdefghi"), ""),
	},
	{name: "header line over the limit", version: V12, limits: tight, wire: "SEND\nfifteen:abcdefghij", err: "frame is over the limit header_line of 17 bytes"},
	{name: "escapes count as they come", version: V12, limits: tight, wire: `SEND` + "\n" + `fifteen:\n\n\n\n\n`, err: "frame is over the limit header_line of 17 bytes"},
	{name: "NUL just before the limit", version: V12, limits: tight, wire: "SEND\nfifteen:abcdefgh\x00ij", err: "NUL in the head of a frame"},
	{name: "NUL beyond the limit", version: V12, limits: tight, wire: "SEND\nfifteen:abcdefghi\x00", err: "frame is over the limit header_line of 17 bytes"},
	{
		name: "headers at the limit", version: V12, limits: tight, wire: "SEND\na:1\na:2\na:3\n\n\x00",
		frames: one(Send, h("a", "1", "a", "2", "a", "3"), ""),
	},
	{name: "headers over the limit", version: V12, limits: tight, wire: "SEND\na:1\na:2\na:3\na", err: "frame is over the limit headers of 3 header lines"},
	{
		name: "frame at the limit", version: V12, limits: tight, lenient: true, wire: "SEND\n\n" + strings.Repeat("x", 57) + "\x00",
		frames: one(Send, nil, strings.Repeat("x", 57)),
	},
	{name: "frame over the limit", version: V12, limits: tight, wire: "SEND\n\n" + strings.Repeat("x", 58), err: "frame is over the limit frame_size of 64 bytes"},
	{
		name: "counted frame at the limit", version: V12, limits: tight,
		wire:   "SEND\ncontent-length:39\n\n" + strings.Repeat("x", 39) + "\x00",
		frames: one(Send, h(HdrContentLength, "39"), strings.Repeat("x", 39)),
	},
	{name: "counted frame over the limit", version: V12, limits: tight, wire: "SEND\ncontent-length:40\n\n", err: "frame is over the limit frame_size of 64 bytes"},
	{name: "head over the frame limit", version: V12, limits: &Limits{Frame: 16}, wire: "SEND\naaa:b\nc:d\n\n", err: "frame is over the limit frame_size of 16 bytes"},
	{name: "header line over the frame limit", version: V12, limits: &Limits{Frame: 16}, wire: "SEND\naaaaaaaaaaaa", err: "frame is over the limit frame_size of 16 bytes"},
	{name: "command over the frame limit", version: V12, limits: &Limits{Frame: 4}, wire: "ABORT", err: "frame is over the limit frame_size of 4 bytes"},
	{
		name: "frame limit one byte before the header line's", version: V12, limits: &Limits{HeaderLine: 12, Frame: 16},
		wire: "SEND\naaaaaaaaaaaa", err: "frame is over the limit frame_size of 16 bytes",
	},
	{
		name: "name of a named header over the general limit", version: V12,
		limits: &Limits{HeaderLine: 4, Named: map[string]int{"client-data": 3}},
		wire:   "SEND\nclient-data:abc\n", err: "frame is over the limit header_line of 4 bytes",
	},
	{
		name: "named header at its limit", version: V12, limits: tight, lenient: true,
		wire:   "SEND\nclient-data:" + strings.Repeat("d", 24) + "\n\n" + strings.Repeat("x", 44) + "\x00",
		frames: one(Send, h("client-data", strings.Repeat("d", 24)), strings.Repeat("x", 44)),
	},
	{
		name: "frame with a named header over the limit", version: V12, limits: tight,
		wire: "SEND\nclient-data:" + strings.Repeat("d", 24) + "\n\n" + strings.Repeat("x", 45),
		err:  "frame is over the limit frame_size of 64 bytes",
	},
	{name: "named header over its limit", version: V12, limits: tight, wire: "SEND\nclient-data:" + strings.Repeat("d", 25), err: "frame is over the limit client_data of 24 bytes"},
	{name: "named header under the general limit", version: V12, limits: tight, wire: "SEND\nw:1234", err: "frame is over the limit w of 3 bytes"},
	{
		name: "named headers beyond their number", version: V12, limits: tight,
		wire: "SEND\nw:1\nclient-data:\nclient-data:123456", err: "frame is over the limit header_line of 17 bytes",
	},
}
