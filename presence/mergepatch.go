package presence

import (
	"bytes"
	"encoding/json"
)

// mergePatch applies a JSON merge patch (RFC 7396 section 2) to a document;
// both are valid JSON, the document may be nil for none. Numbers stay as they
// were written.
func mergePatch(document, patch json.RawMessage) json.RawMessage {
	changes := object(patch)
	if changes == nil {
		return patch
	}
	members := object(document)
	if members == nil {
		members = make(map[string]json.RawMessage, len(changes))
	}
	for name, value := range changes {
		if string(bytes.TrimSpace(value)) == "null" {
			delete(members, name)
		} else {
			members[name] = mergePatch(members[name], value)
		}
	}
	var merged bytes.Buffer
	appendJSON(&merged, members)
	return merged.Bytes()
}

// object decodes an object; nil for any other value.
func object(value json.RawMessage) map[string]json.RawMessage {
	var members map[string]json.RawMessage
	if value = bytes.TrimSpace(value); len(value) == 0 || value[0] != '{' || json.Unmarshal(value, &members) != nil {
		return nil
	}
	return members
}
