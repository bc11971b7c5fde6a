package acl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxID is the highest uid and gid; the one above it, (uid_t)-1, means none (chown(2)).
const maxID = 1<<32 - 2

// maxName is the greatest length of a group's or token's name in bytes.
const maxName = 64

// checkGroupName says what is wrong with a group's name, or "".
func checkGroupName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.TrimSpace(name) != name:
		return "has blanks at its ends"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return "has characters that cannot be printed"
	}
	return ""
}

// checkTokenName says what is wrong with a token's name, or "". The name travels in HTTP headers and log
// lines, hence the narrow set.
func checkTokenName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	case strings.ContainsFunc(name, func(c rune) bool { return !isTokenNameRune(c) }):
		return "has other characters than A-Z a-z 0-9 . _ @ + -"
	}
	return ""
}

func isTokenNameRune(c rune) bool {
	return c < utf8.RuneSelf && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.ContainsRune("._@+-", c))
}

// parseUser reads one entry of a group's users. The error does not repeat the entry, which may be a secret
// that was pasted in the wrong place.
func parseUser(s string) (user, error) {
	form, rest, found := strings.Cut(s, ":")
	switch {
	case found && form == "uid":
		id, err := parseID(rest)
		return user{form: formUID, id: id}, err
	case found && form == "gid":
		id, err := parseID(rest)
		return user{form: formGID, id: id}, err
	case found && form == "token":
		return user{form: formToken, name: rest}, nil
	case found || len(s) != 64:
		return user{}, errors.New("must be a public key (64 lower-case hex digits), uid:N, gid:N or token:NAME")
	}
	if _, err := ParseKey(s); err != nil {
		return user{}, fmt.Errorf("is no public key: %w", err)
	}
	return user{form: formKey, name: s}, nil
}

// parseID reads a uid or gid. It takes one spelling of a number only, so that what looks different is
// different.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("has a number that is not decimal, from 0 to %d, without leading zeros", maxID)
	}
	return uint32(n), nil
}

// decodeSum reads a SHA-256 in the spelling of sha256sum(1).
func decodeSum(sum *[32]byte, s string) bool {
	if len(s) != hex.EncodedLen(len(sum)) || !isLowerHex(s) {
		return false
	}
	_, err := hex.Decode(sum[:], []byte(s))
	return err == nil
}
