package presence

import (
	"bytes"
	"encoding/json"
)

// mergePatch applies a JSON merge patch (RFC 7396 section 2) to a document;
// both are valid JSON, the document may be nil for none. Numbers stay as they
// were written.
func mergePatch(document, patch json.RawMessage) json.RawMessage {
	var merged bytes.Buffer
	appendJSON(&merged, mergeValue(decode(document), decode(patch)))
	return merged.Bytes()
}

func mergeValue(document, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	members, ok := document.(map[string]any)
	if !ok {
		members = make(map[string]any, len(changes))
	}
	for name, value := range changes {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = mergeValue(members[name], value)
		}
	}
	return members
}

// decode decodes valid JSON; nil for none.
func decode(value json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	_ = d.Decode(&v)
	return v
}
