package stomptest

import (
	"crypto/rand"
	"testing"
)

// Dialer connects a new client, which has not sent CONNECT yet.
type Dialer func(t *testing.T) *Client

// check is one thing that a server must do.
type check struct {
	name string
	run  func(t *testing.T, dial Dialer)
}

// Run checks a server over whatever dial connects with. It uses destinations
// below /topic/ and /queue/ that nobody else does, so that the server may be a live one.
func Run(t *testing.T, dial Dialer) {
	for _, group := range []struct {
		name   string
		checks []check
	}{
		{"connecting", connectChecks},
		{"messages", messageChecks},
		{"subscriptions", subscriptionChecks},
		{"queues", queueChecks},
		{"transactions", transactionChecks},
		{"destinations", destinationChecks},
		{"ending", endChecks},
		{"refusals", refusalChecks},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.checks {
				t.Run(c.name, func(t *testing.T) { c.run(t, dial) })
			}
		})
	}
}

// topic is a destination that nobody else uses, of one segment, as RabbitMQ
// wants it.
func topic() string { return "/topic/stomptest-" + rand.Text() }

// connected is a client after CONNECTED.
func connected(t *testing.T, dial Dialer, header ...string) *Client {
	t.Helper()
	c := dial(t)
	c.Connect(header...)
	return c
}
