package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

// addAuth adds the options that say who may connect:
//
//	authenticate <name> ...   # may be repeated: jwt, password or a guest
//	allow_anonymous
//	failed_attempts <burst> <per second> | off
func (s subdirectives) addAuth(c *AuthConfig) {
	s["authenticate"] = subdirective{repeated: true, parse: c.parseAuthenticate}
	s["allow_anonymous"] = subdirective{parse: bareArg(&c.AllowAnonymous)}
	s["failed_attempts"] = subdirective{parse: c.parseFailedAttempts}
}

func (c *AuthConfig) parseAuthenticate(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("authenticate: expected the name of an authenticator, such as jwt or password")
	}
	start := *d
	name := d.Val()
	guest, err := caddyfile.UnmarshalModule(d, "stomp.authenticators."+name)
	if err != nil {
		return err
	}
	if _, ok := guest.(Authenticator); !ok {
		return d.Errf("authenticate: module stomp.authenticators.%s is no authenticator", name)
	}
	if v, ok := guest.(caddy.Validator); ok {
		if err := v.Validate(); err != nil {
			return start.WrapErr(err)
		}
	}
	c.AuthenticatorsRaw = append(c.AuthenticatorsRaw, caddyconfig.JSONModuleObject(guest, "authenticator", name, nil))
	return nil
}

func (c *AuthConfig) parseFailedAttempts(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	c.FailedAttempts = new(FailedAttempts)
	if len(args) == 1 && args[0] == "off" {
		c.FailedAttempts.Burst = -1
		return noBlock(d, "failed_attempts")
	}
	ok := len(args) == 2
	if ok {
		burst, wrongBurst := strconv.Atoi(args[0])
		perSecond, wrongRate := strconv.ParseFloat(args[1], 64)
		ok = wrongBurst == nil && wrongRate == nil && burst > 0 && perSecond > 0 && perSecond <= 1e6
		c.FailedAttempts.Burst, c.FailedAttempts.PerSecond = burst, perSecond
	}
	if !ok {
		return d.Err("failed_attempts: expected two numbers above 0, <burst> <per second>, such as 10 1, or off")
	}
	return noBlock(d, "failed_attempts")
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	jwt {
//		key        <algorithm> <secret or PEM>   # may be repeated
//		key_file   <path> [<algorithm>]          # may be repeated
//		jwks       <url> {
//			refresh      <duration>
//			min_interval <duration>
//			timeout      <duration>
//		}
//		algorithms <name>...
//		issuer     <name>...
//		audience   <name>...
//		leeway     <duration>
//		allow_no_expiry
//		user_claim <claim>
//		attribute  <name> <claim> [public]       # may be repeated
//		cookie     <name>
//		query      <name>
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // jwt
	if d.NextArg() {
		return d.Errf("authenticate jwt: takes no argument, got %q", d.Val())
	}
	return subdirectives{
		"key":             {repeated: true, parse: j.parseKey},
		"key_file":        {repeated: true, parse: j.parseKeyFile},
		"jwks":            {parse: j.parseJWKS},
		"algorithms":      {parse: stringArgs(&j.Algorithms, "algorithms such as RS256")},
		"issuer":          {parse: stringArgs(&j.Issuer, "issuers such as https://id.example.com")},
		"audience":        {parse: stringArgs(&j.Audience, "audiences")},
		"allow_no_expiry": {parse: bareArg(&j.AllowNoExpiry)},
		"user_claim":      {parse: stringArg(&j.UserClaim, "a claim such as sub")},
		"attribute":       {repeated: true, parse: j.parseAttribute},
		"cookie":          {parse: stringArg(&j.Cookie, "the name of a cookie")},
		"query":           {parse: stringArg(&j.Query, "the name of a query parameter")},
		"leeway": {parse: func(d *caddyfile.Dispenser) error {
			arg, err := oneArg(d, "a duration such as 30s")
			if err != nil {
				return err
			}
			leeway, err := parseDuration(d, "leeway", arg)
			j.Leeway = &leeway
			return err
		}},
	}.parse(d, "authenticate jwt")
}

// stringArgs takes one argument or more, and no block.
func stringArgs(into *[]string, expected string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		if *into = d.RemainingArgs(); len(*into) == 0 {
			return d.Errf("%s: expected %s", name, expected)
		}
		return noBlock(d, name)
	}
}

func (j *JWT) parseKey(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("key: expected <algorithm> and the secret, or the public key in PEM")
	}
	k := JWTKey{Algorithm: args[0]}
	if strings.HasPrefix(k.Algorithm, "HS") {
		k.Secret = args[1]
	} else {
		k.PublicKey = args[1]
	}
	return j.addKey(d, "key", k)
}

func (j *JWT) parseKeyFile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 && len(args) != 2 {
		return d.Err("key_file: expected <path> [<algorithm>]")
	}
	k := JWTKey{File: args[0]}
	if len(args) == 2 {
		k.Algorithm = args[1]
	}
	return j.addKey(d, "key_file", k)
}

func (j *JWT) addKey(d *caddyfile.Dispenser, name string, k JWTKey) error {
	if err := k.validate(); err != nil {
		return d.Errf("%s: %v", name, err)
	}
	j.Keys = append(j.Keys, k)
	return noBlock(d, name)
}

func (j *JWT) parseJWKS(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("jwks: expected a URL such as https://id.example.com/keys")
	}
	j.JWKS = &JWKS{URL: d.Val()}
	if !strings.Contains(j.JWKS.URL, "{") {
		if _, err := parseJWKSURL(j.JWKS.URL); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.Errf("jwks: expected one URL, got %q too", d.Val())
	}
	return subdirectives{
		"refresh":      {parse: durationArg(&j.JWKS.Refresh)},
		"min_interval": {parse: durationArg(&j.JWKS.MinInterval)},
		"timeout":      {parse: durationArg(&j.JWKS.Timeout)},
	}.parse(d, "jwks")
}

func (j *JWT) parseAttribute(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 && (len(args) != 3 || args[2] != "public") {
		return d.Err("attribute: expected <name> <claim> [public]")
	}
	j.Attributes = append(j.Attributes, ClaimAttribute{Name: args[0], Claim: args[1], Public: len(args) == 3})
	return noBlock(d, "attribute")
}

// UnmarshalCaddyfile implements [caddyfile.Unmarshaler]:
//
//	password [bcrypt | argon2id] {
//		<user> <hash>
//		...
//	}
func (p *Password) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // password
	args := d.RemainingArgs()
	if len(args) > 0 {
		if _, err := caddy.GetModule("http.authentication.hashes." + args[0]); err != nil || len(args) > 1 {
			return d.Errf("authenticate password: expected [bcrypt | argon2id], got %q", strings.Join(args, " "))
		}
		p.HashRaw = caddyconfig.JSON(map[string]string{"algorithm": args[0]}, nil)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		a := caddyauth.Account{Username: d.Val()}
		hashes := d.RemainingArgs()
		if len(hashes) != 1 {
			return d.Err("authenticate password: expected <user> <hash>")
		}
		a.Password = hashes[0]
		if err := noBlock(d, a.Username); err != nil {
			return err
		}
		p.Accounts = append(p.Accounts, a)
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*JWT)(nil)
	_ caddyfile.Unmarshaler = (*Password)(nil)
)
