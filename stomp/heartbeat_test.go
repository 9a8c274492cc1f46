package stomp

import (
	"testing"
	"time"
)

// STOMP 1.2, "Heart-beating".
func TestAgree(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		serverSends, serverWants, clientSends, clientWants time.Duration
		out, in                                            time.Duration // in is 0 if PingTimeout stands in
	}{
		{10 * s, 10 * s, 10 * s, 10 * s, 10 * s, 10 * s},
		{10 * s, 10 * s, 0, 0, 0, 0},
		{10 * s, 10 * s, 5 * s, 0, 0, 10 * s},
		{10 * s, 10 * s, 0, 5 * s, 10 * s, 0},
		{10 * s, 10 * s, 60 * s, 20 * s, 20 * s, 60 * s},
		{10 * s, 20 * s, 15 * s, 15 * s, 15 * s, 20 * s},
		{-1, 10 * s, 10 * s, 10 * s, 0, 10 * s},
		{10 * s, -1, 10 * s, 10 * s, 10 * s, 0},
		{-1, -1, 10 * s, 10 * s, 0, 0},
		{10 * s, 10 * s, time.Millisecond, time.Millisecond, 10 * s, 10 * s},
	} {
		var b beat
		b.agree(tt.clientSends, tt.clientWants, &Policy{HeartBeatSend: tt.serverSends, HeartBeatReceive: tt.serverWants, PingTimeout: 30 * s})
		if b.agreed != (tt.in > 0) || time.Duration(b.out) != tt.out || b.agreed && time.Duration(b.in) != tt.in {
			t.Errorf("%v: out %v, in %v, agreed %v", tt, time.Duration(b.out), time.Duration(b.in), b.agreed)
		}
		limit := 2*tt.in + s // the design's
		if tt.in == 0 {
			limit = 30 * s
		}
		if got := time.Duration(b.giveUp()); got > limit-tick || got < limit-5*tick {
			t.Errorf("%v: given up after %v of silence, want at most %v", tt, got, limit)
		}
		if b.pingAt() >= b.giveUp() {
			t.Errorf("%v: pinged after %v, given up after %v", tt, time.Duration(b.pingAt()), time.Duration(b.giveUp()))
		}
		if tt.out > 0 && time.Duration(b.outAt()) > tt.out-tick {
			t.Errorf("%v: an EOL is due after %v of silence", tt, time.Duration(b.outAt()))
		}
	}
}

func TestParseHeartBeat(t *testing.T) {
	for _, tt := range []struct {
		in           string
		sends, wants time.Duration
		ok           bool
	}{
		{"", 0, 0, true},
		{"0,0", 0, 0, true},
		{"10000,5000", 10 * time.Second, 5 * time.Second, true},
		{" 1 , 2 ", time.Millisecond, 2 * time.Millisecond, true},
		{"007,0", 7 * time.Millisecond, 0, true},
		{"86400000,86400001", 24 * time.Hour, 24 * time.Hour, true},
		{"9223372036854775807,0", 24 * time.Hour, 0, true},
		{"9223372036854775808,0", 0, 0, false},
		{"99999999999999999999999,0", 0, 0, false},
		{",", 0, 0, false},
		{"1", 0, 0, false},
		{"1,", 0, 0, false},
		{",1", 0, 0, false},
		{"1,2,3", 0, 0, false},
		{"-1,0", 0, 0, false},
		{"+1,0", 0, 0, false},
		{"1.5,0", 0, 0, false},
		{"1e3,0", 0, 0, false},
		{"0x1,0", 0, 0, false},
		{"a,b", 0, 0, false},
	} {
		sends, wants, err := parseHeartBeat(tt.in)
		if sends != tt.sends || wants != tt.wants || (err == nil) != tt.ok {
			t.Errorf("%q: %v, %v, %v", tt.in, sends, wants, err)
		}
	}
}

func TestFormatHeartBeat(t *testing.T) {
	for _, tt := range []struct {
		sends, wants time.Duration
		want         string
	}{
		{10 * time.Second, 5 * time.Second, "10000,5000"},
		{-1, time.Second, "0,1000"},
		{time.Second, -time.Hour, "1000,0"},
	} {
		if got := formatHeartBeat(&Policy{HeartBeatSend: tt.sends, HeartBeatReceive: tt.wants}); got != tt.want {
			t.Errorf("%v: %q", tt, got)
		}
	}
}
