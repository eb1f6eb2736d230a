use ::redis::parse_redis_value;

use super::*;

fn value(text: &str) -> Value {
    parse_redis_value(text.as_bytes()).unwrap()
}

#[test]
fn every_refusal_of_redis_has_its_name() {
    for (line, trouble) in [
        ("-OOM command not allowed when used memory > 'maxmemory'.", Trouble::OutOfMemory),
        ("-READONLY You can't write against a read only replica.", Trouble::ReadOnly),
        ("-LOADING Redis is loading the dataset in memory", Trouble::Loading),
        ("-CLUSTERDOWN The cluster is down", Trouble::FailingOver),
        ("-MASTERDOWN Link with MASTER is down", Trouble::FailingOver),
        ("-NOAUTH Authentication required.", Trouble::Credentials),
        ("-NOPERM this user has no permissions", Trouble::Credentials),
        ("-MISCONF Redis is configured to save RDB snapshots", Trouble::Refused),
        ("-WRONGTYPE Operation against a key", Trouble::Refused),
    ] {
        assert_eq!(accepted(&value(&format!("{line}\r\n"))).unwrap_err().trouble, trouble, "{line}");
    }
}

#[test]
fn a_transaction_is_taken_whole_or_tells_why_not() {
    let all = |lines: &[&str]| lines.iter().map(|line| value(line)).collect::<Vec<_>>();
    let added = all(&["+OK\r\n", "+QUEUED\r\n", "*1\r\n$3\r\n1-0\r\n"]);
    assert_eq!(exec(&added, 1), Ok(Published::Added));
    assert_eq!(exec(&all(&["+OK\r\n", "+QUEUED\r\n", "*-1\r\n"]), 1), Ok(Published::Changed));
    let refused = "*1\r\n-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
    assert_eq!(exec(&all(&["+OK\r\n", "+QUEUED\r\n", refused]), 1), Ok(Published::Refused));
    let aborted = all(&["+OK\r\n", "-OOM no\r\n", "-EXECABORT Transaction discarded\r\n"]);
    assert_eq!(exec(&aborted, 1).unwrap_err().trouble, Trouble::OutOfMemory);
    assert_eq!(exec(&all(&["+OK\r\n", "+QUEUED\r\n", ":1\r\n"]), 1).unwrap_err().trouble, Trouble::Garbage);
}

#[test]
fn the_top_of_a_stream_is_found_also_when_its_entry_was_deleted() {
    let stream = |last: &str| {
        value(&format!(
            "*6\r\n$6\r\nlength\r\n:1\r\n$17\r\nlast-generated-id\r\n$3\r\n7-0\r\n$10\r\nlast-entry\r\n{last}"
        ))
    };
    let entry = "*2\r\n$3\r\n7-0\r\n*4\r\n$4\r\nkind\r\n$1\r\nx\r\n$5\r\nevent\r\n$2\r\n{}\r\n";
    assert_eq!(top_of(&stream(entry)), Ok(Some(Top { id: 7, body: Some("{}".into()) })));
    assert_eq!(top_of(&stream("*-1\r\n")), Ok(Some(Top { id: 7, body: None })));
    let older = entry.replace("7-0", "6-0");
    assert_eq!(top_of(&stream(&older)), Ok(Some(Top { id: 7, body: None })));
    assert_eq!(top_of(&value("-ERR no such key\r\n")), Ok(None));
    assert_eq!(top_of(&value("-NOPERM no\r\n")).unwrap_err().trouble, Trouble::Credentials);
    assert_eq!(top_of(&value("+PONG\r\n")).unwrap_err().trouble, Trouble::Garbage);
}

#[test]
fn a_cluster_says_where_to_go() {
    let problem = accepted(&value("-MOVED 3999 127.0.0.1:6381\r\n")).unwrap_err();
    assert_eq!(problem.trouble, Trouble::FailingOver);
    assert_eq!(problem.moved_to(), RedisServer::from_host_port("127.0.0.1:6381"));
    assert_eq!(accepted(&value("-ASK 3999 127.0.0.1:6381\r\n")).unwrap_err().moved_to(), None);
}
