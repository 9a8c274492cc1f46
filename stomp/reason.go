package stomp

import (
	"errors"
	"strconv"
)

// Reason says why a session ended. Every end has one.
type Reason uint8

// The reasons. Their names, close codes and texts are one table below; the
// names are part of the public wire format.
const (
	// ReasonDisconnect is a DISCONNECT frame (STOMP 1.2, "DISCONNECT").
	ReasonDisconnect Reason = iota + 1
	// ReasonClosed is a closing handshake without DISCONNECT: a closed tab, a
	// navigation, ws.close().
	ReasonClosed
	// ReasonConnectionLost is a connection that broke without a closing handshake.
	ReasonConnectionLost
	// ReasonHeartBeatTimeout is a peer that was silent for too long and did not
	// answer a ping either.
	ReasonHeartBeatTimeout
	// ReasonSlowConsumer is a peer that did not read what was sent to it.
	ReasonSlowConsumer
	// ReasonProtocolError is a malformed or misplaced frame.
	ReasonProtocolError
	// ReasonPolicy is the operator's will: kicked, over a limit, not permitted.
	ReasonPolicy
	// ReasonServerShutdown is an endpoint, a broker or a process that goes away as
	// planned.
	ReasonServerShutdown
	// ReasonServerCrash is an end found out after a restart.
	ReasonServerCrash
	// ReasonNodeLost is an end on another node that died.
	ReasonNodeLost
	// ReasonInternalError is a fault of the server's: a panic, or an error that
	// is not for the client to read.
	ReasonInternalError

	numReasons
)

// reasonInfo is a row of the table that law 7 of the design asks for.
type reasonInfo struct {
	name      string
	code      int    // RFC 6455 section 7.4.1; what the server sends or, without a handshake, reports
	text      string // message header of the ERROR frame and close reason; none: no ERROR
	clean     bool   // the client, not a failure, ended it
	reconnect bool   // whether the client should try again by itself
	grace     bool   // whether a grace period applies by default
}

var reasons = [numReasons]reasonInfo{
	ReasonDisconnect:       {name: "disconnect", code: 1000, clean: true},
	ReasonClosed:           {name: "closed", code: 1000, clean: true},
	ReasonConnectionLost:   {name: "connection-lost", code: 1006, reconnect: true, grace: true},
	ReasonHeartBeatTimeout: {name: "heart-beat-timeout", code: 1013, text: "heart-beat timeout", reconnect: true, grace: true},
	ReasonSlowConsumer:     {name: "slow-consumer", code: 1013, text: "slow consumer", reconnect: true},
	ReasonProtocolError:    {name: "protocol-error", code: 1002, text: "protocol error"},
	ReasonPolicy:           {name: "policy", code: 1008, text: "policy violation"},
	ReasonServerShutdown:   {name: "server-shutdown", code: 1012, text: "server shutdown", reconnect: true},
	ReasonServerCrash:      {name: "server-crash", code: 1006, reconnect: true},
	ReasonNodeLost:         {name: "node-lost", code: 1006, reconnect: true},
	ReasonInternalError:    {name: "internal-error", code: 1011, text: internalError, reconnect: true},
}

// String is the reason's name on the wire, such as "connection-lost".
func (r Reason) String() string { return r.info().name }

// MarshalText implements [encoding.TextMarshaler].
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It takes the names of
// [Reasons], and an empty text for none.
func (r *Reason) UnmarshalText(text []byte) error {
	for i := range numReasons {
		if reasons[i].name == string(text) {
			*r = i
			return nil
		}
	}
	return errors.New("no such reason: " + strconv.Quote(string(text)))
}

// Code is the WebSocket close code that belongs to the reason. 1006 is never
// sent; it says that there was no closing handshake.
func (r Reason) Code() int { return r.info().code }

// Clean says whether the client ended the session on purpose.
func (r Reason) Clean() bool { return r.info().clean }

// Reconnect says whether a client does well to connect again by itself.
func (r Reason) Reconnect() bool { return r.info().reconnect }

// Grace says whether a grace period applies to the reason by default.
func (r Reason) Grace() bool { return r.info().grace }

func (r Reason) info() reasonInfo {
	if r >= numReasons {
		return reasonInfo{}
	}
	return reasons[r]
}

// Reasons lists every reason, in the order of the table.
func Reasons() []Reason {
	all := make([]Reason, 0, numReasons-1)
	for r := ReasonDisconnect; r < numReasons; r++ {
		all = append(all, r)
	}
	return all
}

// reasonOfClose maps the close code that a client sent (RFC 6455 section 7.4,
// 1005 for none) to the reason of the session's end.
func reasonOfClose(code int) Reason {
	switch {
	case code == 1006:
		return ReasonConnectionLost
	case code == 1000, code == 1001, code == 1005, code >= 3000 && code <= 4999:
		return ReasonClosed
	default:
		return ReasonProtocolError
	}
}
