package stomp

import (
	"slices"
	"testing"
)

// The table of the design, word for word: law 7.
func TestReasons(t *testing.T) {
	want := []struct {
		reason                  Reason
		name                    string
		code                    int
		clean, reconnect, grace bool
		text                    bool // an ERROR tells the client
	}{
		{ReasonDisconnect, "disconnect", 1000, true, false, false, false},
		{ReasonClosed, "closed", 1000, true, false, false, false},
		{ReasonConnectionLost, "connection-lost", 1006, false, true, true, false},
		{ReasonHeartBeatTimeout, "heart-beat-timeout", 1013, false, true, true, true},
		{ReasonSlowConsumer, "slow-consumer", 1013, false, true, false, true},
		{ReasonProtocolError, "protocol-error", 1002, false, false, false, true},
		{ReasonPolicy, "policy", 1008, false, false, false, true},
		{ReasonServerShutdown, "server-shutdown", 1012, false, true, false, true},
		{ReasonServerCrash, "server-crash", 1006, false, true, false, false},
		{ReasonNodeLost, "node-lost", 1006, false, true, false, false},
		{ReasonInternalError, "internal-error", 1011, false, true, false, true},
	}
	var all []Reason
	for _, w := range want {
		r := w.reason
		all = append(all, r)
		if r.String() != w.name || r.Code() != w.code || r.Clean() != w.clean || r.Reconnect() != w.reconnect ||
			r.Grace() != w.grace || (r.info().text != "") != w.text {
			t.Errorf("%s: %+v", w.name, r.info())
		}
	}
	if !slices.Equal(Reasons(), all) {
		t.Errorf("reasons %v, want %v", Reasons(), all)
	}
	for _, none := range []Reason{0, numReasons, 255} {
		if none.String() != "" || none.Code() != 0 {
			t.Errorf("Reason(%d) is %v", none, none.info())
		}
	}
}

// RFC 6455, section 7.4.
func TestReasonOfClose(t *testing.T) {
	for _, tt := range []struct {
		from, to int
		want     Reason
	}{
		{0, 999, ReasonProtocolError},
		{1000, 1001, ReasonClosed},
		{1002, 1004, ReasonProtocolError},
		{1005, 1005, ReasonClosed},
		{1006, 1006, ReasonConnectionLost},
		{1007, 2999, ReasonProtocolError},
		{3000, 4999, ReasonClosed},
		{5000, 65535, ReasonProtocolError},
	} {
		for code := tt.from; code <= tt.to; code++ {
			if got := reasonOfClose(code); got != tt.want {
				t.Fatalf("code %d: %v, want %v", code, got, tt.want)
			}
		}
	}
}
