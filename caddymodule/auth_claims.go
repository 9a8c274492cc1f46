package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caddy-stomp/caddy-stomp/stomp"
)

// ClaimAttribute makes a claim an attribute.
type ClaimAttribute struct {
	// The name by which events, permissions and peers know it.
	Name string `json:"name"`
	// The claim. Dots lead into objects, if there is no claim of the whole
	// name.
	Claim string `json:"claim"`
	// Whether other clients are told. Default: false.
	Public bool `json:"public,omitempty"`
}

// identity checks the claims, and makes of them what the session is to know.
func (j *JWT) identity(known *jwt.Claims, claims map[string]json.RawMessage) (*Identity, error) {
	if known.Expiry == nil && !j.AllowNoExpiry {
		return nil, errors.New("the token never expires")
	}
	if len(j.Issuer) > 0 && !slices.Contains(j.Issuer, known.Issuer) {
		return nil, jwt.ErrInvalidIssuer
	}
	err := known.ValidateWithLeeway(jwt.Expected{AnyAudience: j.Audience}, j.leeway)
	if errors.Is(err, jwt.ErrExpired) {
		return nil, ErrCredentialsExpired
	}
	if err != nil {
		return nil, err
	}
	id := new(Identity)
	user := findClaim(claims, j.UserClaim)
	if id.User = claimText(user); id.User == "" || user[0] != '"' && (user[0] < '0' || user[0] > '9') && user[0] != '-' {
		return nil, fmt.Errorf("claim %s is no string or number", j.UserClaim)
	}
	for _, a := range j.Attributes {
		id.Attributes = append(id.Attributes, stomp.Attribute{Name: a.Name, Value: claimText(findClaim(claims, a.Claim)), Public: a.Public})
	}
	if known.Expiry != nil {
		id.Expires = known.Expiry.Time().Add(j.leeway)
	}
	return id, nil
}

// findClaim finds a claim, nil if there is none.
func findClaim(claims map[string]json.RawMessage, name string) json.RawMessage {
	if value, ok := claims[name]; ok {
		return value
	}
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		var inner map[string]json.RawMessage
		if json.Unmarshal(claims[name[:i]], &inner) == nil && inner != nil {
			if value := findClaim(inner, name[i+1:]); value != nil {
				return value
			}
		}
	}
	return nil
}

// claimText is a claim as text: a string itself, everything else its JSON, empty for
// null.
func claimText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return ""
	}
	return compact.String()
}
