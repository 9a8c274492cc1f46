// Receives the webhooks of the stomp directive, and knows from them alone who
// is present. It needs the standard library only.
//
//	WEBHOOK_SECRET=whsec_... go run .
//
// WEBHOOK_SECRET holds secrets, separated by spaces: while one is being
// replaced, the old and the new. JOURNAL is the file that stands for your
// database, default presence.journal; PORT is of 127.0.0.1, default 9000.
package main

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// bodyLimit is above the largest batch that is sent: what is refused as
	// too large becomes a dead letter.
	bodyLimit = 4 << 20
	// tolerance is how old a request may be, or how far the clocks apart.
	tolerance = 5 * time.Minute
)

// keysOf returns the keys in secrets, whsec_ and base64 each, separated by
// spaces.
func keysOf(secrets string) ([][]byte, error) {
	var keys [][]byte
	for _, secret := range strings.Fields(secrets) {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) < 16 {
			return nil, errors.New("a secret is whsec_ and the base64 of 16 bytes or more")
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no secret")
	}
	return keys, nil
}

// verify returns an error unless the body was signed with one of the keys, and
// lately (https://www.standardwebhooks.com).
func verify(header http.Header, body []byte, keys [][]byte, now time.Time) error {
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return errors.New("not signed")
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return errors.New("signed too long ago, or in the future")
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", id, timestamp)
		mac.Write(body)
		expected := mac.Sum(nil)
		for signature := range strings.FieldsSeq(header.Get("Webhook-Signature")) {
			version, text, _ := strings.Cut(signature, ",")
			given, err := base64.StdEncoding.DecodeString(text)
			if version == "v1" && err == nil && hmac.Equal(given, expected) {
				return nil
			}
		}
	}
	return errors.New("signed with another secret")
}

// receiver serves POST /hooks, and GET /present, which is not for everybody.
func receiver(presence *Presence, keys [][]byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hooks", func(w http.ResponseWriter, r *http.Request) {
		// as it came: what was parsed and written anew has another signature
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		} else if err != nil {
			http.Error(w, "try again", http.StatusInternalServerError)
			return
		}
		if err := verify(r.Header, body, keys, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var events []Event
		if err = json.Unmarshal(body, &events); err == nil {
			err = presence.Take(events)
		}
		if err != nil {
			log.Print(err)
			http.Error(w, "try again", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /present", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(presence.List()); err != nil {
			log.Print(err)
		}
	})
	return mux
}

func main() {
	keys, err := keysOf(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		log.Fatalf("WEBHOOK_SECRET: %v", err)
	}
	presence, err := OpenPresence(cmp.Or(os.Getenv("JOURNAL"), "presence.journal"))
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", cmp.Or(os.Getenv("PORT"), "9000")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening")
	server := &http.Server{Handler: receiver(presence, keys), ReadTimeout: 30 * time.Second}
	log.Fatal(server.Serve(listener))
}
