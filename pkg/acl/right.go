package acl

import "fmt"

// Right is what a caller has on a method, or what a method needs. Rights are ordered, so that they can be
// compared with < and max: Admin holds Write, Write holds Read.
type Right uint8

// The rights, weakest first.
const (
	None Right = iota
	Read
	Write
	Admin
)

var rightNames = [...]string{"none", "read", "write", "admin"}

// String is the name that ACL files use: none, read, write or admin.
func (r Right) String() string {
	if int(r) < len(rightNames) {
		return rightNames[r]
	}
	return fmt.Sprintf("right(%d)", uint8(r))
}

// ParseRight is the inverse of Right.String.
func ParseRight(s string) (Right, error) {
	for i, name := range rightNames {
		if s == name {
			return Right(i), nil
		}
	}
	return None, fmt.Errorf("right %q: must be none, read, write or admin", s)
}
