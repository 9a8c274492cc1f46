//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// clientData is 200 bytes of JSON.
func clientData(i int) string {
	head := fmt.Sprintf(`{"name":"somebody %d","about":"`, i)
	return head + strings.Repeat("x", 200-len(head)-2) + `"}`
}

// dialAll makes n connections, some at the same time. It returns the first
// error.
func dialAll(n int, dial func(i int) (*conn, error)) ([]*conn, error) {
	conns, errs := make([]*conn, n), make([]error, n)
	var all sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				conns[i], errs[i] = dial(i)
			}
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("client %d: %w", i, err)
		}
	}
	return conns, nil
}
