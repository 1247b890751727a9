//! `mesh …` and `invite`.

use crate::{
    args::{CreateArgs, InviteArgs, InviteCommand, InviteVerb, MeshCommand},
    commands::daemon,
    output::{CliError, Exit, clean},
    quantity::{money, rfc3339, show_duration},
    session::Session,
};
use hive_runtime::port::{InviteRequest, Kind, MeshRequest, MeshView};

/// `mesh …`
pub async fn run(session: &Session, command: MeshCommand) -> Result<Exit, CliError> {
    match command {
        MeshCommand::Create(args) => create(session, &args).await,
        MeshCommand::Show => show(session).await,
    }
}

async fn create(session: &Session, args: &CreateArgs) -> Result<Exit, CliError> {
    let (client, status) = daemon::start(session, &args.node).await?;
    if let Some(mesh) = &status.mesh {
        // Typing the same again is no mistake; founding a second mesh is.
        if mesh.name == args.name && mesh.authorities.contains(&status.node) {
            session
                .out
                .step("mesh", &format!("\"{}\" exists already, founded here", mesh.name));
            print(session, mesh)?;
            return Ok(Exit::OK);
        }
        return Err(CliError::new(
            Kind::Conflict,
            "mesh.member",
            format!("this node belongs to the mesh \"{}\" already", mesh.name),
        )
        .hint("use another folder: hivenode --data DIR mesh create NAME"));
    }
    let request = MeshRequest {
        name: args.name.clone(),
        mint: args.mint,
        default_score: args.default_score,
        worker: !args.no_worker,
    };
    let mesh = client.mesh_create(&request).await?;
    session.out.step(
        "mesh",
        &format!("\"{}\" founded, {} minted", mesh.name, args.mint),
    );
    session.out.step("authority", "this node");
    print(session, &mesh)?;
    let invite = session.command("invite --role worker");
    session.out.say(&format!("\nInvite a worker: {}", clean(&invite)));
    Ok(Exit::OK)
}

fn print(session: &Session, mesh: &MeshView) -> Result<(), CliError> {
    if session.out.json {
        session.out.document("mesh", mesh)?;
    } else {
        session.out.line(&mesh.id);
    }
    Ok(())
}

async fn show(session: &Session) -> Result<Exit, CliError> {
    let status = session.client()?.status().await?;
    let Some(mesh) = status.mesh else {
        return Err(
            CliError::new(Kind::NotFound, "mesh.none", "this node is in no mesh")
                .hint("hivenode mesh create NAME, or hivenode up TICKET"),
        );
    };
    if session.out.json {
        session.out.document("mesh", &mesh)?;
    } else if session.out.quiet {
        session.out.line(&mesh.id);
    } else {
        let answers = if mesh.authority_reachable {
            "answers"
        } else {
            "does not answer"
        };
        session.out.line(&format!("name       {}", clean(&mesh.name)));
        session.out.line(&format!("id         {}", clean(&mesh.id)));
        for authority in &mesh.authorities {
            session
                .out
                .line(&format!("authority  {} ({answers})", clean(authority)));
        }
    }
    Ok(Exit::OK)
}

/// `invite` and `invite rm`
pub async fn invite(session: &Session, command: InviteCommand) -> Result<Exit, CliError> {
    match command.command {
        Some(InviteVerb::Rm { invite }) => {
            session.client()?.invite_revoke(&invite).await?;
            session.out.step("revoked", &invite);
            if session.out.json {
                session.out.document("revoked", &invite)?;
            }
            Ok(Exit::OK)
        }
        None => make(session, &command.args).await,
    }
}

async fn make(session: &Session, args: &InviteArgs) -> Result<Exit, CliError> {
    let request = InviteRequest {
        role: args.role,
        score: args.score,
        grant: args.grant,
        uses: args.uses,
        ttl_ms: u64::try_from(args.ttl.as_millis()).unwrap_or(u64::MAX),
    };
    let view = session.client()?.invite(&request).await?;
    let out = &session.out;
    if out.json {
        out.document("invite", &view)?;
        return Ok(Exit::OK);
    }
    if out.quiet {
        out.line(&view.ticket);
        return Ok(Exit::OK);
    }
    let grant = if args.grant.0 > 0 {
        format!(", {} each", money(args.grant.0))
    } else {
        String::new()
    };
    let uses = if view.uses == 1 {
        "1 use".to_owned()
    } else {
        format!("{} uses", view.uses)
    };
    out.say(&format!(
        "Add a {} ({uses}, holds for {}, until {}{grant}):\n",
        view.role,
        show_duration(args.ttl),
        rfc3339(view.expires)
    ));
    out.line(&format!("hivenode up {}", clean(&view.ticket)));
    out.say(&format!(
        "\nRevoke  {}",
        clean(&session.command(&format!("invite rm {}", view.invite)))
    ));
    Ok(Exit::OK)
}
