package stomp

import (
	"strings"

	"github.com/caddy-stomp/caddy-stomp/stomp/frame"
)

// transaction holds the SEND, ACK and NACK frames of a transaction until COMMIT
// (STOMP 1.2, "BEGIN"). It belongs to the reading goroutine, and goes with the
// session: a disconnect aborts.
type transaction struct {
	frames []*frame.Frame
}

func transactionID(f *frame.Frame) (string, error) {
	id := f.Header.Get(frame.HdrTransaction)
	if id == "" {
		return "", protocolErrorf("%s: transaction is missing", f.Command)
	}
	return id, nil
}

func (s *Session) onBegin(f *frame.Frame) error {
	id, err := transactionID(f)
	if err != nil {
		return err
	}
	if s.transactions[id] != nil {
		return protocolErrorf("BEGIN: transaction %q has begun already", id)
	}
	if limit := s.endpoint.Policy().Limits.Transactions; len(s.transactions) >= limit {
		return LimitExceeded("transactions", limit)
	}
	if s.transactions == nil {
		s.transactions = make(map[string]*transaction)
	}
	s.transactions[strings.Clone(id)] = new(transaction) // not the whole head with it
	return nil
}

// endTransaction takes the transaction of a COMMIT or an ABORT.
func (s *Session) endTransaction(f *frame.Frame) (*transaction, error) {
	id, err := transactionID(f)
	if err != nil {
		return nil, err
	}
	tx := s.transactions[id]
	if tx == nil {
		return nil, protocolErrorf("%s: no such transaction %q", f.Command, id)
	}
	delete(s.transactions, id)
	for _, held := range tx.frames {
		s.transactionBytes -= frameSize(held)
	}
	return tx, nil
}

func (s *Session) onCommit(f *frame.Frame) error {
	tx, err := s.endTransaction(f)
	if err != nil {
		return err
	}
	acknowledged := make(map[string]bool)
	for _, held := range tx.frames { // all or nothing
		if err := s.check(held); err != nil {
			return err
		}
		if held.Command == frame.Send {
			continue
		}
		id := held.Header.Get(frame.HdrID) + held.Header.Get(frame.HdrMessageID)
		if acknowledged[id] {
			return protocolErrorf("COMMIT: the transaction acknowledges %q twice", id)
		}
		acknowledged[id] = true
	}
	for _, held := range tx.frames {
		if err := s.perform(held); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) onAbort(f *frame.Frame) error {
	_, err := s.endTransaction(f)
	return err
}

// hold puts a frame into the transaction that it names.
func (s *Session) hold(id string, f *frame.Frame) error {
	tx := s.transactions[id]
	if tx == nil {
		return protocolErrorf("%s: no such transaction %q", f.Command, id)
	}
	if f.Command == frame.Send { // what is wrong already is said at once
		if err := s.check(f); err != nil {
			return err
		}
	}
	size := frameSize(f)
	if limit := s.endpoint.Policy().Limits.TransactionBytes; s.transactionBytes+size > limit {
		return LimitExceeded("transaction_bytes", limit)
	}
	s.transactionBytes += size
	tx.frames = append(tx.frames, f.Clone())
	return nil
}

// frameSize is, roughly, what a frame costs that is kept.
func frameSize(f *frame.Frame) int {
	n := 128 + len(f.Body)
	for _, field := range f.Header {
		n += len(field.Name) + len(field.Value) + 32
	}
	return n
}
