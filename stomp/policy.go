package stomp

import (
	"time"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// Policy is what an operator decides about an endpoint and may change while
// sessions live. It is read-only once given to an [Endpoint]; its zero values
// are replaced by [DefaultPolicy]'s. What a session agreed in its handshake
// (heart-beats, user, attributes) stays as it was.
type Policy struct {
	// HeartBeatSend and HeartBeatReceive are the server's side of heart-beat
	// negotiation: how often it can send, and how often it would like to
	// receive. Negative: not at all. Default: 10s each.
	HeartBeatSend, HeartBeatReceive time.Duration

	// PingTimeout bounds the silence of a client that sends no heart-beats:
	// it is pinged after three quarters of it, and given up at its end.
	// Default: 30s.
	PingTimeout time.Duration

	// Hosts are the virtual hosts that CONNECT may name (STOMP 1.2, "CONNECT
	// or STOMP Frame"). Default: any. A client need not name one.
	Hosts []string

	// Authenticator decides who a client is. Default: whoever the handshake
	// says.
	Authenticator Authenticator

	// Refresh is the destination to which a client sends new credentials
	// before the old ones expire. Default: /app/refresh.
	Refresh string

	// Permissions decide who may do what. Default: everybody may do
	// everything that is not the server's own.
	Permissions *Permissions

	// Interceptors see what clients send before anybody else does, in order.
	Interceptors []Interceptor

	// Admit refuses a client with an *Error after it was authenticated and
	// before it is connected. It is called as Authenticate is, and may wait.
	// An error for which errors.Is finds [ErrSuperseded] has it asked again, of
	// the policy that is in force by then. Default: everybody is admitted.
	Admit func(hs *Handshake, connect *frame.Frame) error

	// Subscriptions is told who subscribes to what, mounted destinations
	// included. Default: nobody.
	Subscriptions SubscriptionObserver

	Limits Limits

	// frame is Limits.Frame apart, so that a session's decoder, which has it
	// until the next frame, does not keep a policy that is no longer in force.
	frame *frame.Limits
}

// Authenticator decides who a client is by its CONNECT frame, such as by login
// and passcode.
type Authenticator interface {
	// Authenticate returns the handshake, or another one with the user and
	// attributes that the frame proves, or refuses with an *Error. It is
	// called on the reading goroutine of the session, without locks held; the
	// frame is valid during the call only, and the handshake must not be
	// changed.
	Authenticate(hs *Handshake, connect *frame.Frame) (*Handshake, error)
}

// Refresher is implemented by an [Authenticator] whose credentials expire, and
// can be renewed by a SEND to Policy.Refresh.
type Refresher interface {
	// Refresh returns when the new credentials in a frame expire, zero for
	// never, or refuses them with an *Error; so it does if they are not those
	// of the same user. It is called as Authenticate is.
	Refresh(hs *Handshake, f *frame.Frame) (time.Time, error)
}

// Interceptor sees the frames CONNECT, SUBSCRIBE, UNSUBSCRIBE, SEND and
// DISCONNECT of a session before the broker does.
type Interceptor interface {
	// Intercept may change the frame's header and body, or refuse it with an
	// *Error, which ends the session. If it says that it has answered the
	// frame, nobody else sees it; a RECEIPT that it asks for is sent. CONNECT
	// cannot be answered. It is called on the reading goroutine of the session,
	// without locks held; frame and body are valid during the call only. In a
	// transaction it is called when the frame comes, not at COMMIT.
	Intercept(s *Session, f *frame.Frame) (answered bool, err error)
}

// Limits bounds everything that a client can make grow.
type Limits struct {
	// Frame bounds command, header lines, header count and frame size.
	Frame frame.Limits
	// Subscriptions per session. Default: 1000.
	Subscriptions int
	// Destination is the longest destination in bytes. Default: 255.
	Destination int
	// Transactions of a session at the same time. Default: 100.
	Transactions int
	// TransactionBytes is what a session's transactions hold together.
	// Default: 1 MiB.
	TransactionBytes int
	// Unacknowledged is how many messages a subscription may owe an ACK for:
	// a queue gives no more, a topic's subscriber is refused. Default: 1000.
	Unacknowledged int
	// FramesPerSecond of a session, with a burst of twice as many; negative:
	// no limit. Default: 10000.
	FramesPerSecond int
	// Pending is how many bytes may wait to be written to one session.
	// Beyond: ReasonSlowConsumer. Default: 1 MiB, or four times Frame.Frame if
	// that is more, so that one message does not keep the next from waiting.
	Pending int
	// Connect is how long a connection may take to send CONNECT. Default: 10s.
	Connect time.Duration
	// Sessions of the endpoint at the same time. Default: 100000.
	Sessions int
	// SessionsPerUser and SessionsPerAddress, of the broker, at the same time;
	// negative: no limit. Default: 1000 and 10000.
	SessionsPerUser, SessionsPerAddress int
	// Connecting is how many connections of the broker may not have sent
	// CONNECT yet, and ConnectingPerAddress how many of an address; negative:
	// no limit. Default: 20000 and 10000.
	Connecting, ConnectingPerAddress int
}

// pendingFrames is how many of the largest frames may wait by default.
const pendingFrames = 4

// ClientDataHeader is the CONNECT header in which a client may tell its client
// data. Its length has a limit of its own, apart from other header lines.
const ClientDataHeader = "client-data"

// DefaultClientData is the default limit of client data in bytes.
const DefaultClientData = 4 << 10

// DefaultPolicy returns the policy of an endpoint that sets nothing.
func DefaultPolicy() Policy {
	limits := frame.DefaultLimits()
	limits.Named = map[string]int{ClientDataHeader: DefaultClientData}
	return Policy{
		HeartBeatSend:    10 * time.Second,
		HeartBeatReceive: 10 * time.Second,
		PingTimeout:      30 * time.Second,
		Refresh:          "/app/refresh",
		Limits: Limits{
			Frame:         limits,
			Subscriptions: 1000,
			Destination:   255,
			Transactions:  100, TransactionBytes: 1 << 20,
			Unacknowledged:     1000,
			FramesPerSecond:    10_000,
			Pending:            1 << 20,
			Connect:            10 * time.Second,
			Sessions:           100_000,
			SessionsPerUser:    1000,
			SessionsPerAddress: 10_000,
			Connecting:         20_000, ConnectingPerAddress: 10_000,
		},
	}
}

// ClientData is the limit of client data in bytes.
func (l *Limits) ClientData() int { return l.Frame.Named[ClientDataHeader] }

// withDefaults fills what was left at zero.
func (p Policy) withDefaults() Policy {
	d := DefaultPolicy()
	orDuration(&p.HeartBeatSend, d.HeartBeatSend)
	orDuration(&p.HeartBeatReceive, d.HeartBeatReceive)
	orDuration(&p.PingTimeout, d.PingTimeout)
	if p.Refresh == "" {
		p.Refresh = d.Refresh
	}
	orDuration(&p.Limits.Connect, d.Limits.Connect)
	orInt(&p.Limits.Frame.Command, d.Limits.Frame.Command)
	orInt(&p.Limits.Frame.HeaderLine, d.Limits.Frame.HeaderLine)
	orInt(&p.Limits.Frame.Headers, d.Limits.Frame.Headers)
	orInt(&p.Limits.Frame.Frame, d.Limits.Frame.Frame)
	if p.Limits.Frame.Named == nil {
		p.Limits.Frame.Named = d.Limits.Frame.Named
	}
	orInt(&p.Limits.Subscriptions, d.Limits.Subscriptions)
	orInt(&p.Limits.Destination, d.Limits.Destination)
	orInt(&p.Limits.Transactions, d.Limits.Transactions)
	orInt(&p.Limits.TransactionBytes, d.Limits.TransactionBytes)
	orInt(&p.Limits.Unacknowledged, d.Limits.Unacknowledged)
	orInt(&p.Limits.FramesPerSecond, d.Limits.FramesPerSecond)
	orInt(&p.Limits.SessionsPerUser, d.Limits.SessionsPerUser)
	orInt(&p.Limits.SessionsPerAddress, d.Limits.SessionsPerAddress)
	orInt(&p.Limits.Connecting, d.Limits.Connecting)
	orInt(&p.Limits.ConnectingPerAddress, d.Limits.ConnectingPerAddress)
	orInt(&p.Limits.Pending, max(d.Limits.Pending, pendingFrames*p.Limits.Frame.Frame))
	orInt(&p.Limits.Sessions, d.Limits.Sessions)
	return p
}

func orInt(v *int, def int) {
	if *v == 0 {
		*v = def
	}
}

func orDuration(v *time.Duration, def time.Duration) {
	if *v == 0 {
		*v = def
	}
}
