//! Reads the sources of a crate: its modules in the order of their `mod` lines, and who imports whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;
use syn::{Item, ItemUse, UseTree};

/// The place of a module in its crate; the root is empty.
type Place = Vec<String>;

/// A crate as its sources say it.
pub(crate) struct House {
    rooms: BTreeMap<Place, Room>,
}

/// A module with a file of its own.
struct Room {
    file: PathBuf,
    /// Modules declared in it, from the ground up.
    children: Vec<String>,
    /// Names that it defines.
    defines: BTreeSet<String>,
    /// Names that it imports, and from where.
    uses: BTreeMap<String, Vec<String>>,
    /// Places all of whose names it imports.
    globs: Vec<Vec<String>>,
    /// Paths that its code names.
    named: Vec<Named>,
}

/// A path in a source.
struct Named {
    path: Vec<String>,
    line: usize,
    by: By,
}

/// What names a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Code, or an import for code.
    Code,
    /// A re-export, or a constant: how a folder's file lists what is in the folder.
    List,
}

/// An import that the floors forbid.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The file that imports.
    pub(crate) file: PathBuf,
    /// Where.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

impl House {
    /// Reads a crate from its `lib.rs`.
    pub(crate) fn read(crate_folder: &Path) -> Self {
        let mut house = Self { rooms: BTreeMap::new() };
        house.enter(Vec::new(), &crate_folder.join("src/lib.rs"));
        house
    }

    fn enter(&mut self, place: Place, file: &Path) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let source = syn::parse_file(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let mut reader = Reader { room: Room::new(file), depth: 0, by: By::Code };
        reader.visit_file(&source);
        let room = reader.room;
        let here = match file.file_name().and_then(|name| name.to_str()) {
            Some("lib.rs" | "mod.rs") => file.parent().unwrap().to_owned(),
            _ => file.with_extension(""),
        };
        for child in &room.children {
            let beside = here.join(format!("{child}.rs"));
            let inside = here.join(child).join("mod.rs");
            let path = if beside.exists() { beside } else { inside };
            self.enter([place.as_slice(), std::slice::from_ref(child)].concat(), &path);
        }
        self.rooms.insert(place, room);
    }

    /// Every file with its number of lines.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.rooms.values().map(|room| {
            let text = std::fs::read_to_string(&room.file).unwrap();
            (room.file.as_path(), text.lines().count())
        })
    }

    /// Every import that goes up a floor or round in a circle.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = BTreeSet::new();
        let (mut up, mut down) = (BTreeMap::new(), BTreeMap::new());
        for (place, room) in &self.rooms {
            for named in &room.named {
                let Some(target) = self.resolve(place, &named.path, 0) else { continue };
                let same = place.iter().zip(&target).take_while(|(a, b)| a == b).count();
                let at = |what: String| Fault { file: room.file.clone(), line: named.line, what };
                if target == *place {
                } else if same == place.len() {
                    if named.by == By::Code {
                        down.entry(place.clone()).or_insert_with(|| {
                            at(format!("uses what is in {}, whose modules import from here", shown(&target)))
                        });
                    }
                } else if same == target.len() {
                    up.entry(target.clone())
                        .or_insert_with(|| at(format!("imports from {}", shown(&target))));
                } else {
                    let list = &self.rooms[&place[..same]].children;
                    let floor = |of: &Place| list.iter().position(|child| *child == of[same]);
                    if floor(&target) > floor(place) {
                        let what = format!("{} imports {}: up a floor", shown(place), shown(&target));
                        faults.insert(at(what));
                    }
                }
            }
        }
        for (place, fault) in down {
            if let Some(other) = up.remove(&place) {
                faults.insert(fault);
                faults.insert(other);
            }
        }
        faults.into_iter().collect()
    }

    /// The module that a path leads to, seen from one: where what it names is defined.
    fn resolve(&self, from: &Place, path: &[String], depth: usize) -> Option<Place> {
        let mut rest = path;
        let mut place = match rest.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from.get(..from.len().checked_sub(1)?)?.to_vec(),
            child if self.rooms[from].children.iter().any(|other| other == child) => {
                [from.as_slice(), &[child.to_owned()]].concat()
            }
            name => {
                let used = self.rooms[from].uses.get(name).filter(|used| used.as_slice() != path)?;
                let whole = [used.as_slice(), &path[1..]].concat();
                return (depth < 16).then(|| self.resolve(from, &whole, depth + 1)).flatten();
            }
        };
        rest = &rest[1..];
        while let Some(next) = rest.first() {
            let room = &self.rooms[&place];
            if next == "super" {
                place.pop()?;
            } else if next == "self" {
            } else if room.children.contains(next) {
                place.push(next.clone());
            } else if room.defines.contains(next) || depth >= 16 {
                return Some(place);
            } else if let Some(used) = room.uses.get(next) {
                let whole = [used.as_slice(), &rest[1..]].concat();
                return self.resolve(&place, &whole, depth + 1);
            } else {
                let through = room.globs.iter().find_map(|glob| {
                    let found = self.resolve(&place, glob, depth + 1)?;
                    let there = &self.rooms[&found];
                    (there.defines.contains(next) || there.uses.contains_key(next))
                        .then(|| self.resolve(&found, &[&["self".to_owned()], rest].concat(), depth + 1))
                        .flatten()
                });
                return Some(through.unwrap_or(place));
            }
            rest = &rest[1..];
        }
        Some(place)
    }
}

fn shown(place: &Place) -> String {
    if place.is_empty() { "lib.rs".to_owned() } else { format!("`{}`", place.join("::")) }
}

impl Room {
    fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            children: Vec::new(),
            defines: BTreeSet::new(),
            uses: BTreeMap::new(),
            globs: Vec::new(),
            named: Vec::new(),
        }
    }
}

struct Reader {
    room: Room,
    /// Modules within the file that stand open; the first of a path's `super`s lead out of them.
    depth: usize,
    by: By,
}

impl Reader {
    /// Notes a path, unless it stays in a module within the file.
    fn name(&mut self, path: &[Ident]) {
        let line = path[0].span().start().line;
        let mut path: Vec<String> = path.iter().map(Ident::to_string).collect();
        let outward = path.iter().take_while(|segment| *segment == "super").count().min(self.depth);
        if self.depth > 0 && outward < self.depth && path[0] != "crate" {
            return;
        }
        path.drain(..outward);
        if outward > 0 {
            path.insert(0, "self".to_owned());
        }
        self.room.named.push(Named { path, line, by: self.by });
    }

    fn import(&mut self, tree: &UseTree, before: &[Ident]) {
        match tree {
            UseTree::Path(path) => {
                self.import(&path.tree, &[before, std::slice::from_ref(&path.ident)].concat())
            }
            UseTree::Name(name) => self.imported(&[before, std::slice::from_ref(&name.ident)].concat(), None),
            UseTree::Rename(rename) => {
                self.imported(&[before, std::slice::from_ref(&rename.ident)].concat(), Some(&rename.rename));
            }
            UseTree::Glob(_) => {
                self.name(before);
                if self.depth == 0 {
                    self.room.globs.push(before.iter().map(Ident::to_string).collect());
                }
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.import(item, before)),
        }
    }

    fn imported(&mut self, path: &[Ident], renamed: Option<&Ident>) {
        self.name(path);
        let path: Vec<String> = path.iter().map(Ident::to_string).filter(|name| name != "self").collect();
        if let (Some(last), 0) = (path.last(), self.depth) {
            let name = renamed.map_or_else(|| last.clone(), Ident::to_string);
            self.room.uses.insert(name, path);
        }
    }

    /// Notes every path in tokens, macros' included.
    fn tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |at: usize| matches!(trees.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let mut at = 0;
        while at < trees.len() {
            match &trees[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) if !(at > 1 && is_colon(at - 1) && is_colon(at - 2)) => {
                    let mut path = vec![first.clone()];
                    let mut next = at + 1;
                    while is_colon(next) && is_colon(next + 1) {
                        let Some(TokenTree::Ident(segment)) = trees.get(next + 2) else { break };
                        path.push(segment.clone());
                        next += 3;
                    }
                    if path.len() > 1 {
                        self.name(&path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string().replace(' ', "");
        text.starts_with("#[cfg(test") || text.starts_with("#[cfg(all(test") || text.starts_with("#[test")
    })
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Macro(item) => item.ident.as_ref(),
            _ => None,
        };
        if let (Some(name), 0) = (name, self.depth) {
            self.room.defines.insert(name.to_string());
        }
        match item {
            Item::Use(item) => self.visit_item_use(item),
            Item::Mod(module) => match &module.content {
                None => self.room.children.push(module.ident.to_string()),
                Some((_, items)) => {
                    self.depth += 1;
                    items.iter().for_each(|item| self.visit_item(item));
                    self.depth -= 1;
                }
            },
            _ => {
                self.by = match item {
                    Item::Const(_) | Item::Static(_) => By::List,
                    _ => By::Code,
                };
                self.tokens(item.to_token_stream());
                self.by = By::Code;
                // Imports within functions.
                syn::visit::visit_item(self, item);
            }
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.by = match item.vis {
            syn::Visibility::Inherited => By::Code,
            _ => By::List,
        };
        self.import(&item.tree, &[]);
        self.by = By::Code;
    }
}
